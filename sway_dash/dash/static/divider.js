// The line between a list and the pane beside it: dragged, or moved with the arrow keys, it shares the room anew.
// Where both stand below each other it brings the pane into sight when something is opened.
export function render({ model, el }) {
  const bar = document.createElement("div")
  bar.className = "bar"
  bar.tabIndex = 0
  bar.setAttribute("role", "separator")
  bar.setAttribute("aria-orientation", "vertical")
  bar.setAttribute("aria-label", "Width of the pane")
  bar.setAttribute("aria-valuemin", 25)
  bar.setAttribute("aria-valuemax", 70)
  const host = () => el.getRootNode().host
  const frame = () => host()?.getRootNode().host
  let share = 45
  const put = (wanted) => {
    share = Math.min(Math.max(wanted, 25), 70)
    bar.setAttribute("aria-valuenow", Math.round(share))
    frame()?.style.setProperty("--pane", `${share}fr`)
    frame()?.style.setProperty("--list", `${100 - share}fr`)
  }
  bar.addEventListener("pointerdown", (event) => {
    const box = frame()?.getBoundingClientRect()
    if (!box) return
    event.preventDefault()
    bar.setPointerCapture(event.pointerId)
    const move = (e) => put((box.right - e.clientX) / box.width * 100)
    bar.addEventListener("pointermove", move)
    bar.addEventListener("pointerup", () => {
      bar.removeEventListener("pointermove", move)
      window.dispatchEvent(new Event("resize"))
    }, { once: true })
  })
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: 5, ArrowRight: -5 }[event.key]
    if (!step) return
    event.preventDefault()
    event.stopPropagation()
    put(share + step)
    window.dispatchEvent(new Event("resize"))
  })
  // The pane takes its place some frames after it was opened.
  const reveal = (tries) => {
    const pane = host()?.nextElementSibling
    if (pane?.offsetHeight) pane.scrollIntoView({ block: "start" })
    else if (tries > 0) requestAnimationFrame(() => reveal(tries - 1))
  }
  model.on("opened", () => {
    if (model.opened >= 0 && matchMedia("(max-width: 960px)").matches) requestAnimationFrame(() => reveal(120))
  })
  return bar
}
