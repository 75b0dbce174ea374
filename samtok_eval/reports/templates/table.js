
"use strict";
// Makes every <table class="sortable"> sortable by its heads, and hides rows that do not fit the page's filters.
//   <td data-value="61.6">                   what a cell sorts by; empty sorts last, absent means its text
//   <select data-filter="trust">             fits rows where they or what they stand in have data-trust of that value
//   <input type="search" data-filter-text>   fits rows by their text and data-text, all words in any order
//   data-block                               hidden once none of its rows is left
//   data-filter-status                       says how many rows are left
//   data-filter-scope                        filters inside it are about its own tables; elsewhere about the whole page
//   <input type="radio" data-filter="tab">   the same as a select, as a row of choices
//   <form data-linked>                       its filters stand in the page's address, behind a "?" after the anchor
//   <details data-folded>                    open while a filter is set and some of its rows fit
//   data-for="ID"                            hidden while the row of that id is
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Storage is refused on some file: pages; the choice then lasts as long as the page.
  const stored = (use) => { try { return use(window.localStorage); } catch { return null; } };

  function setUpTheme(button) {
    const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
    const current = () => root.dataset.theme || (prefersDark.matches ? "dark" : "light");
    const label = () => {
      const other = current() === "dark" ? "light" : "dark";
      button.textContent = other === "dark" ? "Dark" : "Light";
      button.setAttribute("aria-label", `Switch to ${other} colours`);
    };
    const saved = stored((storage) => storage.getItem("theme"));
    if (saved === "dark" || saved === "light") root.dataset.theme = saved;
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      stored((storage) => storage.setItem("theme", root.dataset.theme));
      label();
    });
    prefersDark.addEventListener("change", label);
    label();
  }

  const keyOf = (row, index) => {
    const cell = row.cells[index];
    return (cell.dataset.value ?? cell.textContent).trim();
  };

  function sortBy(table, head, index) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const keys = new Map(rows.map((row) => [row, keyOf(row, index)]));
    const numeric = [...keys.values()].every((key) => key === "" || Number.isFinite(Number(key)));
    const before = head.getAttribute("aria-sort");
    // Of numbers one wants the largest first, of names the alphabet.
    const direction = before === "none" ? (numeric ? "descending" : "ascending")
      : before === "descending" ? "ascending" : "descending";
    const sign = direction === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
    });
    body.append(...rows);
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction);
  }

  function setUpSorting(table) {
    for (const head of table.tHead.querySelectorAll("th:not([colspan])")) {
      const index = Number(head.dataset.column ?? head.cellIndex);
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sortBy(table, head, index));
    }
  }

  const folded = (text) => text.normalize("NFKC").toLowerCase();

  function setUpFilters(scope) {
    const choices = [...scope.querySelectorAll("select[data-filter], input[type=radio][data-filter]")];
    const selects = () => choices.filter((choice) => choice.type !== "radio" || choice.checked);
    const searches = [...scope.querySelectorAll("input[data-filter-text]")];
    const rows = [...scope.querySelectorAll("table.sortable tbody tr")];
    const texts = new Map(rows.map((row) => [row, folded(`${row.textContent} ${row.dataset.text ?? ""}`)]));
    const blocks = [...scope.querySelectorAll("[data-block]")];
    const status = scope.querySelector("[data-filter-status]");
    const fits = (row) =>
      selects().every((select) => {
        const key = select.dataset.filter;
        return select.value === "" || row.closest(`[data-${key}]`)?.getAttribute(`data-${key}`) === select.value;
      }) && searches.every((input) => folded(input.value).split(/\s+/).every((word) => texts.get(row).includes(word)));
    const form = scope.querySelector("form[data-linked]");
    const folded_away = [...scope.querySelectorAll("details[data-folded]")];
    const marks = [...scope.querySelectorAll("[data-for]")];
    const state = () => new URLSearchParams([
      ...selects().filter((select) => select.value !== "").map((select) => [select.dataset.filter, select.value]),
      ...searches.filter((input) => input.value !== "").map((input) => ["q", input.value]),
    ]).toString();
    const apply = () => {
      for (const row of rows) row.hidden = !fits(row);
      for (const mark of marks) mark.toggleAttribute("hidden", Boolean(document.getElementById(mark.dataset.for)?.hidden));
      for (const block of blocks) block.hidden = !block.querySelector("table.sortable tbody tr:not([hidden])");
      const left = rows.filter((row) => !row.hidden).length;
      if (status) status.textContent = `${left} of ${rows.length} rows`;
      if (form) keep();
    };
    // The part of the address behind "#": an anchor, and the filters after a "?".
    const address = () => {
      const [anchor, query = ""] = window.location.hash.slice(1).split(/\?(.*)/s);
      return { anchor, query };
    };
    const keep = () => {
      const [query, { anchor }] = [state(), address()];
      for (const details of folded_away) details.open = query !== "" && !details.hidden;
      const hash = query ? `#${anchor}?${query}` : anchor ? `#${anchor}` : "";
      if (hash !== window.location.hash) {
        window.history.replaceState(null, "", hash || window.location.href.split("#")[0]);
      }
    };
    const restore = () => {
      const wanted = new URLSearchParams(address().query);
      for (const choice of choices) {
        const value = wanted.get(choice.dataset.filter) ?? "";
        if (choice.type === "radio") choice.checked = choice.value === value;
        else if ([...choice.options].some((option) => option.value === value)) choice.value = value;
      }
      for (const group of new Set(choices.filter((choice) => choice.type === "radio").map((choice) => choice.name))) {
        const radios = choices.filter((choice) => choice.name === group);
        if (!radios.some((radio) => radio.checked)) radios[0].checked = true;
      }
      for (const input of searches) input.value = wanted.get("q") ?? "";
      apply();
      goTo(address().anchor);
    };
    const goTo = (anchor) => {
      const place = anchor && document.getElementById(anchor);
      if (!place) return;
      for (let outer = place; outer; outer = outer.parentElement) if (outer.tagName === "DETAILS") outer.open = true;
      place.scrollIntoView();
    };
    for (const control of [...choices, ...searches]) control.addEventListener("input", apply);
    for (const each of scope.querySelectorAll("form.filters")) {
      each.addEventListener("submit", (event) => event.preventDefault());
      each.addEventListener("reset", () => window.setTimeout(apply));
    }
    if (form && (address().query || address().anchor)) restore();
    else apply();
    if (!form) return;
    window.addEventListener("hashchange", () => {
      if (address().query) restore();
      else { keep(); goTo(address().anchor); }
    });
  }

  document.querySelectorAll("[data-theme-toggle]").forEach(setUpTheme);
  document.querySelectorAll("table.sortable").forEach(setUpSorting);
  const scopes = [...document.querySelectorAll("[data-filter-scope]")];
  (scopes.length ? scopes : [document]).forEach(setUpFilters);
})();
