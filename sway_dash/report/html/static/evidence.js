// Tables of what probes found: made when they are opened, ordered by a click on a head.
"use strict"
sway.ready((data) => {
  for (const box of document.querySelectorAll("details[data-rows]")) {
    const found = data.evidence?.[box.dataset.rows]
    if (!found) continue
    const place = sway.el("div", { class: found.right.includes(found.head.length - 1) ? "sway-long sway-numbers" : "sway-long" })
    let by = -1
    let falling = false
    const compare = (a, b) => {
      const [x, y] = [a[by], b[by]]
      if (x === null || y === null) return (x === null) - (y === null)
      const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true })
      return falling ? -sign : sign
    }
    const draw = () => {
      const rows = by < 0 ? found.rows : [...found.rows].sort(compare)
      const cells = rows.map((row) => row.map((v) => typeof v === "number" || v === null ? sway.exact(v) : v))
      const heads = found.head.map((title, i) => sway.el("button", { type: "button", class: "link", on: { click: () => order(i) } },
        title + (i === by ? (falling ? " ↓" : " ↑") : "")))
      const made = sway.table(heads, cells, found.right)
      if (by >= 0) made.querySelectorAll("th")[by].setAttribute("aria-sort", falling ? "descending" : "ascending")
      place.replaceChildren(made)
    }
    const order = (i) => {
      const numbers = found.rows.some((row) => typeof row[i] === "number")
      // First the order a reader expects, then the other way round, then that of the probe.
      if (i !== by) [by, falling] = [i, numbers]
      else if (falling === numbers) falling = !falling
      else by = -1
      draw()
      place.querySelectorAll("th button")[i].focus()
    }
    box.addEventListener("toggle", () => { if (box.open && !place.firstChild) draw() })
    box.append(place)
  }
})
