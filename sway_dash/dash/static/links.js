export function render({ model }) {
  const nav = document.createElement("nav")
  const draw = () => {
    nav.setAttribute("aria-label", model.label)
    const held = nav.contains(nav.getRootNode().activeElement) ? nav.getRootNode().activeElement?.dataset.page : null
    nav.replaceChildren(...Object.entries(model.items).map(([page, title]) => {
      const a = document.createElement("a")
      a.textContent = title
      a.dataset.page = page
      a.href = "?" + new URLSearchParams({ page }).toString() + (model.query ? "&" + model.query : "")
      if (page === model.active) a.setAttribute("aria-current", "page")
      a.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return
        event.preventDefault()
        // The click shows at once; what it leads to comes when the server has it.
        for (const other of nav.children) other.removeAttribute("aria-current")
        a.setAttribute("aria-current", "page")
        model.send_msg({ page })
      })
      return a
    }))
    if (held) nav.querySelector(`a[data-page="${CSS.escape(held)}"]`)?.focus()
    inSight()
  }
  const inSight = () => {
    const current = nav.querySelector("[aria-current]")
    if (current && nav.scrollWidth > nav.clientWidth) nav.scrollLeft = current.offsetLeft - nav.offsetLeft - 24
  }
  // Drawn before it has a width; and a window may become narrower.
  new ResizeObserver(inSight).observe(nav)
  for (const name of ["items", "active", "query", "label"]) model.on(name, draw)
  draw()
  return nav
}
