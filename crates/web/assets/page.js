// Small comforts: the search key, copying, menus that close, forms sent once.

export function startPage() {
  document.documentElement.classList.add("scripted");

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const box = document.querySelector("#search");
      if (box) {
        event.preventDefault();
        box.focus();
      }
    }
    if (event.key === "Escape") closeMenus(null);
  });

  // One open menu at a time; a click elsewhere closes it.
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));

  for (const code of document.querySelectorAll(".copyable")) {
    const select = () => getSelection().selectAllChildren(code);
    code.addEventListener("click", select);
    code.addEventListener("focus", select);
  }

  // A second click sends nothing twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 5000);
  });
  addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
  });

  // A choice that needs no button.
  for (const select of document.querySelectorAll("select[data-submit]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}
