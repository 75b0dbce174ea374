#!/usr/bin/env bash
# The installed program away from its checkout: usage `tests/installed.sh BIN`, BIN being the folder of an environment
# in which the wheel alone was installed, without torch.
set -euo pipefail
bin=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset PYTHONPATH

say() { echo "installed: $*"; }

if "$bin/python" -c 'import torch' 2>/dev/null; then
  echo "installed.sh: torch is installed in $bin; expected an environment with the wheel alone" >&2
  exit 1
fi
say "$("$bin/samtok-eval" --version)"

"$bin/samtok-eval" demo --replay --out runs >demo.txt 2>demo.err || { cat demo.txt demo.err >&2; exit 1; }
say "demo --replay: $(find runs -name metrics.json | wc -l) runs, $(find runs -name index.html | wc -l) pages"
test "$(find runs -name metrics.json | wc -l)" -ge 4

"$bin/samtok-eval" view runs --export site >view.txt 2>view.err || { cat view.txt view.err >&2; exit 1; }
test -s site/index.html
say "view --export: $(find site -name '*.html' | wc -l) pages"

"$bin/samtok-eval" leaderboard check >leaderboard.txt
say "leaderboard check: $(wc -l <leaderboard.txt) lines"

# A task file of one's own, and answers of a model that is always right.
"$bin/samtok-eval" tasks new red_things --dir mine >/dev/null
"$bin/python" - <<'PYTHON'
import json
from pathlib import Path

from samtok_eval.registry import load_tasks

samples = load_tasks([Path("mine")])["red_things"].read(Path("mine"), "toy")
lines = [{"id": sample.id, "masks": [mask.to_coco() for mask in sample.target.masks]} for sample in samples]
Path("answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
PYTHON
"$bin/samtok-eval" score --task red_things --tasks-dir mine --data-root mine --predictions answers.jsonl --out scored >score.txt
"$bin/python" - <<'PYTHON'
import json
from pathlib import Path

[path] = Path("scored").rglob("metrics.json")
giou = json.loads(path.read_text())["strict"]["giou"]["value"]
assert giou == 1.0, f"{path}: gIoU {giou} of masks that are all right; expected 1.0"
print(f"installed: a task of one's own: gIoU {100 * giou}")
PYTHON

# A checkpoint needs torch; without it one line says what to install.
if "$bin/samtok-eval" run --task gres --out model >model.txt 2>&1; then
  echo "installed.sh: a checkpoint ran without torch" >&2
  exit 1
fi
grep -q 'samtok-eval\[model\]' model.txt || { cat model.txt >&2; exit 1; }
! grep -q Traceback model.txt
say "a checkpoint without torch: $(grep -m1 'samtok-eval\[model\]' model.txt)"
