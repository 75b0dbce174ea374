"""What is tested elsewhere on drawn pictures, on COCO's own photographs, masks and panoptic PNGs."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samtok_eval import masks
from samtok_eval.datasets.psg import read_psg
from samtok_eval.images import read_image
from samtok_eval.masks import Rle
from samtok_eval.metrics import gcg
from samtok_eval.prediction import Record
from samtok_eval.sample import ImageRef
from tests.conftest import shared
from tests.tokenizer.test_tokenizer import Goldens

ALMOST = 0.999
"""Share of pixels; where a mask stands in a batch may move the last bit of its logits."""
EXIF_ORIENTATION = 0x0112
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores a picture under each orientation of EXIF."""


@pytest.fixture(scope="module")
def real():
    return shared("data", "coco_real")


@pytest.fixture(scope="module")
def annotations(real):
    """COCO's own index of the photographs and their masks."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(real / "instances.json"))


@pytest.fixture(scope="module")
def regions(annotations):
    """The masks of each photograph, read as a reader of ours reads them."""
    return {
        image["id"]: [masks.from_segmentation(row["segmentation"], image["height"], image["width"]) for row in rows]
        for image in annotations.imgs.values()
        for rows in [annotations.imgToAnns[image["id"]]]
    }


def photograph(annotations, real, number):
    image = annotations.imgs[number]
    return read_image(ImageRef(str(number), real / image["file_name"], image["height"], image["width"]))


def test_polygons_and_run_lengths_are_read_as_coco_reads_them(annotations, regions):
    assert sum(map(len, regions.values())) == 101
    for number, found in regions.items():
        for rle, row in zip(found, annotations.imgToAnns[number], strict=True):
            assert np.array_equal(masks.decode(rle), annotations.annToMask(row).astype(bool)), row["id"]


@pytest.fixture(scope="module")
def psg_root(real, tmp_path_factory):
    """Two panoptic pictures as OpenPSG's file has them: classes by place, things before stuff, one relation each."""
    examples = json.loads((real / "panoptic" / "panoptic_examples.json").read_text())
    classes = {kind: [c for c in examples["categories"] if c["isthing"] == kind] for kind in (1, 0)}
    place = {c["id"]: i for i, c in enumerate(classes[1] + classes[0])}
    images = {image["id"]: image for image in examples["images"]}
    rows = [
        {
            **{name: images[row["image_id"]][name] for name in ("file_name", "height", "width")},
            "image_id": str(row["image_id"]),
            "pan_seg_file_name": row["file_name"],
            "segments_info": [{**s, "category_id": place[s["category_id"]]} for s in row["segments_info"]],
            "relations": [[0, 1, 0]],
        }
        for row in examples["annotations"]
    ]
    root = tmp_path_factory.mktemp("psg_root")
    (root / "psg").mkdir()
    (root / "coco").symlink_to(real / "panoptic")
    content = {
        "thing_classes": [c["name"] for c in classes[1]],
        "stuff_classes": [c["name"] for c in classes[0]],
        "predicate_classes": ["beside"],
        "test_image_ids": [row["image_id"] for row in rows],
        "data": rows,
    }
    (root / "psg" / "psg.json").write_text(json.dumps(content))
    return root, examples


def test_panoptic_pngs_are_read_as_segments_of_their_own_areas_and_classes(psg_root):
    root, examples = psg_root
    names = {category["id"]: category["name"] for category in examples["categories"]}
    graphs = read_psg(root, "test")
    assert [len(graph.target.masks) for graph in graphs] == [18, 32]
    for graph, row in zip(graphs, examples["annotations"], strict=True):
        assert list(map(masks.area, graph.target.masks)) == [s["area"] for s in row["segments_info"]]
        assert list(graph.target.labels) == [names[s["category_id"]] for s in row["segments_info"]]
        covered = np.sum([masks.decode(rle) for rle in graph.target.masks], axis=0)
        assert covered.max() == 1, "segments of a panoptic picture do not overlap"


def test_panoptic_segments_equal_the_annotations_of_the_same_photographs(psg_root, regions):
    for graph in read_psg(psg_root[0], "test"):
        assert Counter(graph.target.masks) == Counter(regions[int(graph.image.id)])


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_photograph_is_read_upright_whatever_its_exif_says(real, annotations, tmp_path, orientation):
    upright = photograph(annotations, real, 785)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path = tmp_path / "stored.png"
    Image.fromarray(upright).transpose(STORED_AS[orientation]).save(path, exif=exif, compress_level=1)
    assert np.array_equal(read_image(ImageRef("785", path, *upright.shape[:2])), upright)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_grey_palette_and_other_pictures_are_read_as_rgb(real, annotations, tmp_path, mode):
    stored = Image.fromarray(photograph(annotations, real, 343934)).convert(mode)
    path = tmp_path / ("stored.tiff" if mode == "CMYK" else "stored.png")
    stored.save(path)
    found = read_image(ImageRef("343934", path, stored.height, stored.width))
    assert found.dtype == np.uint8 and np.array_equal(found, np.asarray(stored.convert("RGB")))
    if mode in ("L", "1", "LA"):
        assert (found == found[..., :1]).all()


@pytest.fixture(scope="module")
def tokenizer():
    return Goldens("small").tokenizer


def nearest(books, vectors):
    """Codes by the definition: the entry of each book that is nearest to what the earlier ones left."""
    codes, left = [], vectors.astype(np.float64)
    for book in books:
        distance = ((left[:, None] - book[None]) ** 2).sum(2)
        codes.append(distance.argmin(1))
        left = left - book[codes[-1]]
    return np.stack(codes, axis=1)


def test_every_real_mask_goes_through_encode_and_decode(real, annotations, regions, tokenizer):
    books = [book.weight[:-1].double().numpy() for book in tokenizer.quantizer.books]
    for number, found in regions.items():
        image, truth = photograph(annotations, real, number), np.stack([masks.decode(rle) for rle in found])
        codes = tokenizer.encode(image, truth).numpy()
        assert np.array_equal(codes, nearest(books, tokenizer.embed(image, truth).numpy())), number
        assert np.array_equal(tokenizer.encode(image, truth[::-1].copy()), codes[::-1]), number
        answered = tokenizer.decode(image, codes)
        assert answered.shape == truth.shape and answered.dtype == np.bool_
        for mask, pair in zip(answered, codes, strict=True):
            same = answered[(codes == pair).all(1)]
            assert (same == mask).mean() > ALMOST, "equal codes of one picture are one mask"
            assert np.array_equal(masks.decode(masks.encode(mask)), mask)


def test_ap50_of_coco_s_own_case_without_scores_is_that_of_pycocotools(real):
    """100 pictures, 839 true masks with crowds among them, 734 answers; every score 1, one class."""
    folder = real / "coco_val2014_100"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    answers = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    for row in [*truth["annotations"], *answers]:
        row["category_id"] = 1
    expected = pycocotools_ap50(truth, [{**row, "score": 1.0} for row in answers])
    records = [
        _record(image, truth["annotations"], answers) for image in sorted(truth["images"], key=lambda i: i["id"])
    ]
    assert gcg.ap50(records, ties=False).value == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.9


def _record(image, truths, answers):
    """One picture as the scorer of captions with masks counts it."""

    def regions(rows):
        found = [row["segmentation"] for row in rows if row["image_id"] == image["id"]]
        return [masks.from_segmentation(each, image["height"], image["width"]) for each in found]

    crowds, single = (regions(row for row in truths if row["iscrowd"] == kind) for kind in (1, 0))
    answered: list[Rle] = regions(answers)
    matrix, crowded = gcg.iou_matrix(single, answered), gcg.covered_shares(crowds, answered)
    hits = gcg.ranked_detections(matrix, crowded, [True] * len(single))
    name = str(image["id"])
    return Record(name, name, "official", "ok", values={"truths": len(single)}, series={"hits": hits})


def pycocotools_ap50(truth, answers):
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = truth
        index.createIndex()
        run = COCOeval(index, index.loadRes(answers), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[1]
