// Puts a text on the clipboard; where the browser forbids that to a page without TLS, by way of a hidden field.
export function render({ model }) {
  const button = document.createElement("button")
  button.type = "button"
  const done = document.createElement("span")
  done.setAttribute("role", "status")
  const words = () => { button.textContent = model.label }
  const field = () => {
    const area = document.createElement("textarea")
    area.value = model.text
    area.style.position = "fixed"
    area.style.opacity = "0"
    document.body.append(area)
    area.select()
    const ok = document.execCommand("copy")
    area.remove()
    if (!ok) throw new Error("refused")
  }
  let clear = 0
  button.addEventListener("click", async () => {
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(model.text).catch(field)
      else field()
      done.textContent = "copied"
    } catch {
      done.textContent = "the browser does not allow it"
    }
    clearTimeout(clear)
    clear = setTimeout(() => { done.textContent = "" }, 2500)
  })
  model.on("label", words)
  words()
  const root = document.createElement("div")
  root.append(button, done)
  return root
}
