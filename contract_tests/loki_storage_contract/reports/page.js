"use strict";
// The page is whole without this: it adds a filter, and opens the law that the address names.
const form = document.querySelector(".filter");
const bodies = [...document.querySelectorAll(".matrix tbody")];
const rowsOf = (body) => [...body.querySelectorAll("tr:not(.group)")];

function show() {
  const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const open = form.elements.open.checked;
  let shown = 0;
  for (const body of bodies) {
    let any = false;
    for (const row of rowsOf(body)) {
      const text = row.querySelector(".law").textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word)) && !(open && row.dataset.all === "passed");
      row.hidden = !fits;
      any = any || fits;
      shown += fits;
    }
    body.hidden = !any;
  }
  form.querySelector("output").textContent = words.length || open ? `${shown} shown` : "";
}

function openNamed() {
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = named && named.querySelector("details");
  if (details) details.open = true;
}

form.hidden = false;
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", openNamed);
openNamed();
