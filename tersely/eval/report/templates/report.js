"use strict";
(function () {
  function all(selector, root) { return Array.from((root || document).querySelectorAll(selector)); }
  function value(cell) {
    var text = cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
    return text === "" ? null : (isNaN(Number(text)) ? text : Number(text));
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a - b; }
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  all("table.sortable").forEach(function (table) {
    all("thead th", table).forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        all("thead th", table).forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var body = table.tBodies[0];
        var rows = Array.from(body.rows).map(function (row) { return [value(row.cells[column]), row]; });
        rows.sort(function (a, b) {
          if (a[0] === null || b[0] === null) { return (a[0] === null) - (b[0] === null); }
          return (down ? -1 : 1) * compare(a[0], b[0]);
        });
        rows.forEach(function (pair) { body.appendChild(pair[1]); });
      });
    });
  });
  all("input[data-filter]").forEach(function (input) {
    var rows = all("table.sortable tbody tr", document.getElementById(input.dataset.filter));
    input.addEventListener("input", function () {
      var wanted = input.value.toLowerCase();
      rows.forEach(function (row) { row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0; });
    });
  });
  var samples = all(".sample"), search = document.getElementById("search"), shown = document.getElementById("shown");
  function pick() {
    var count = 0;
    samples.forEach(function (sample) {
      var keep = all("select[data-pick]").every(function (select) {
        return !select.value || sample.dataset[select.dataset.pick] === select.value;
      }) && sample.textContent.toLowerCase().indexOf(search.value.toLowerCase()) >= 0;
      sample.hidden = !keep;
      count += keep;
    });
    shown.textContent = count + " of " + samples.length;
  }
  if (search) {
    all("select[data-pick]").forEach(function (select) { select.addEventListener("change", pick); });
    search.addEventListener("input", pick);
    pick();
    var fold = document.getElementById("fold");
    fold.addEventListener("click", function () {
      var open = fold.getAttribute("aria-pressed") !== "true";
      fold.setAttribute("aria-pressed", String(open));
      fold.textContent = open ? "Fold thinking" : "Unfold thinking";
      all("details.thinking").forEach(function (d) { d.open = open; });
    });
  }
})();
