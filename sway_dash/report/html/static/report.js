// Menus of the other sections: which probe, which scale, which axis.
"use strict"
sway.ready(() => {
  const menu = (name) => document.querySelector(`[data-choice="${name}"]`)
  const follow = (menus, targets) => {
    const found = menus.map(menu)
    const show = () => {
      const wanted = found.map((m) => m.value).join("/")
      for (const name of targets) {
        sway.state(name, wanted)
        sway.tell(name, wanted)
      }
    }
    if (found.every(Boolean)) for (const m of found) m.addEventListener("change", show)
  }
  follow(["strength-of", "strength-scale"], ["strength", "strength-table", "shape"])
  follow(["null-of", "null-scale"], ["null", "null-caption", "null-draws", "null-ecdf", "norms", "own-null", "ranks"])
  menu("axis")?.addEventListener("change", (event) => {
    for (const part of document.querySelectorAll("[data-axis]")) part.hidden = part.dataset.axis !== event.target.value
  })
})
