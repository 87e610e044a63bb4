"use strict";
/* Elements made in one call; tables that sort; links that show a case; what printing needs. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  /** Returns a new element with attributes (a function listens to that event) and children. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function sortValue(row, column) {
    const cell = row.cells[column];
    const value = cell && cell.dataset.value;
    if (value !== undefined) return value === "" ? NaN : Number(value);
    return cell ? cell.textContent.trim() : "";
  }

  function compared(first, second) {
    if (typeof first === "number" && typeof second === "number") return first - second;
    return String(first).localeCompare(String(second), "en", { numeric: true });
  }

  /** Sorts the rows of each body by one column; in a column of numbers, what has none is last. */
  function sortRows(table, column, ascending) {
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows, (row) => ({ row, value: sortValue(row, column) }));
      if (rows.some((entry) => typeof entry.value === "number")) {
        for (const entry of rows) if (typeof entry.value !== "number") entry.value = NaN;
      }
      rows.sort((first, second) => {
        const [lacks, alsoLacks] = [Number.isNaN(first.value), Number.isNaN(second.value)];
        if (lacks || alsoLacks) return lacks - alsoLacks;
        const order = compared(first.value, second.value);
        return ascending ? order : -order;
      });
      body.append(...rows.map((entry) => entry.row));
    }
  }

  /** Makes the headers of a table buttons that sort it. */
  function makeSortable(table) {
    const head = table.tHead && table.tHead.rows[table.tHead.rows.length - 1];
    if (!head) return;
    Array.from(head.cells).forEach((cell, column) => {
      const sort = () => {
        const ascending = cell.getAttribute("aria-sort") !== "ascending";
        for (const other of head.cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sortRows(table, column, ascending);
      };
      const button = make("button", { type: "button", class: "sort", click: sort });
      button.append(...cell.childNodes);
      cell.replaceChildren(button);
    });
  }

  /** Makes a click on `<a data-show="CASE ID">` call `show(id)`; the link then scrolls there. */
  function followLinks(show) {
    document.addEventListener("click", (event) => {
      const link = event.target.closest && event.target.closest("a[data-show]");
      if (link) show(link.dataset.show);
    });
  }

  /** Opens every <details> while the page is printed, and calls `fit` before and after. */
  function preparePrint(fit) {
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = Array.from(document.querySelectorAll("details:not([open])"));
      for (const details of opened) details.open = true;
      fit(true);
    });
    window.addEventListener("afterprint", () => {
      for (const details of opened) details.open = false;
      fit(false);
    });
  }

  liftnet.page = { make, makeSortable, followLinks, preparePrint };
})();
