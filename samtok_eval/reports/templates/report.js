
"use strict";
// Galleries open in a dialog with arrow keys; the command can be copied. The page says all of it without scripts, too.
(() => {
  const dialog = document.querySelector("dialog[data-lightbox]");
  if (dialog) {
    const place = dialog.querySelector("[data-place]");
    const buttons = [...document.querySelectorAll(".card .open")];
    let current = 0;
    const show = (index) => {
      current = (index + buttons.length) % buttons.length;
      const card = buttons[current].closest(".card").cloneNode(true);
      const panels = document.createElement("div");
      panels.className = "open";
      panels.append(...card.querySelector(".open").childNodes);
      card.querySelector(".open").replaceWith(panels);
      for (const details of card.querySelectorAll("details")) details.open = true;
      place.replaceChildren(card);
      dialog.querySelector("[data-count]").textContent = `${current + 1} of ${buttons.length}`;
    };
    buttons.forEach((button, index) => button.addEventListener("click", () => { show(index); dialog.showModal(); }));
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(current + 1);
      else if (event.key === "ArrowLeft") show(current - 1);
    });
    dialog.querySelector("[data-next]").addEventListener("click", () => show(current + 1));
    dialog.querySelector("[data-previous]").addEventListener("click", () => show(current - 1));
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => buttons[current].focus());
  }
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
})();
