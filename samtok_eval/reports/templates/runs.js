
// Two radio buttons per row choose a baseline and a candidate; rows of other questions are closed to the other side.
(() => {
  const bar = document.querySelector("[data-chosen]");
  if (!bar) return;
  const sides = ["baseline", "candidate"];
  const radios = (side) => [...document.querySelectorAll(`input[name=${side}]`)];
  const rowOf = (side) => radios(side).find((radio) => radio.checked)?.closest("tr");
  const go = bar.querySelector("[data-go]");
  const clear = bar.querySelector("[data-clear]");

  function show() {
    const rows = sides.map(rowOf);
    sides.forEach((side, index) => {
      bar.querySelector(`[data-side=${side}]`).textContent = rows[index]?.querySelector(".name").textContent.trim() ?? "none";
      const other = rows[1 - index];
      for (const radio of radios(side)) {
        const row = radio.closest("tr");
        radio.disabled = Boolean(other) && (row === other || row.dataset.questions !== other.dataset.questions);
      }
    });
    clear.hidden = !rows.some(Boolean);
    go.hidden = !rows.every(Boolean);
    if (go.hidden) return;
    const [baseline, candidate] = "earlierFirst" in bar.dataset
      ? [...rows].sort((a, b) => Number(a.dataset.order) - Number(b.dataset.order)) : rows;
    go.href = `compare/${baseline.dataset.key}-${candidate.dataset.key}/index.html`;
  }

  for (const radio of sides.flatMap(radios)) radio.addEventListener("change", show);
  clear.addEventListener("click", () => {
    for (const radio of sides.flatMap(radios)) radio.checked = false;
    show();
  });
  // A browser that goes back shows the same choice again.
  window.addEventListener("pageshow", show);
  show();
})();
