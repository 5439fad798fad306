// Tells the kernel that a browser is there and in which theme, and puts the colours where every shadow root inherits
// them. Once the kernel has answered, the plain HTML of the same run is not needed beside the live view.
const SHEET = "sway-notebook-tokens"
const KNOCKS = 120, EVERY_MS = 1000, AGAIN_MS = 6000

function dark() {
  const body = document.body, root = document.documentElement
  if (body.dataset.jpThemeLight !== undefined) return body.dataset.jpThemeLight === "false"
  if (body.classList.contains("vscode-dark") || body.classList.contains("vscode-high-contrast")) return true
  if (body.classList.contains("vscode-light")) return false
  if (root.getAttribute("theme") !== null) return root.getAttribute("theme") === "dark"
  for (const el of [root, body]) if (el.classList.contains("dark") || el.classList.contains("dark-theme")) return true
  return false
}

function sheet(id, text) {
  let style = document.getElementById(id)
  if (style === null) {
    style = document.createElement("style")
    style.id = id
    document.head.append(style)
  }
  if (style.textContent !== text) style.textContent = text
}

export function render({model}) {
  let knocks = 0, shown = ""
  const tell = (again) => {
    const name = dark() ? "dark" : "light"
    document.documentElement.dataset.swayTheme = name
    if (!again && name === shown) return
    // What is said while an answer is awaited stays behind until something else is said: say it once more.
    if (name !== shown) setTimeout(() => { ++knocks; tell(true) }, AGAIN_MS)
    model.seen = `${shown = name} ${knocks}`
  }
  const answered = () => {
    if (model.alive) sheet(`sway-alive-${model.place}`,
      `[data-sway="${model.place}"], .jp-OutputArea-child:has([data-sway="${model.place}"]) { display: none !important; }`)
  }
  sheet(SHEET, model.tokens)
  const watch = new MutationObserver(() => tell(false))
  for (const el of [document.body, document.documentElement]) {
    watch.observe(el, {attributes: true, attributeFilter: ["class", "theme", "data-jp-theme-light", "data-vscode-theme-kind"]})
  }
  // What is said before the front end's comm is open may be lost: knock until somebody answers.
  const knocking = setInterval(() => {
    if (model.alive || ++knocks > KNOCKS) clearInterval(knocking)
    else tell(true)
  }, EVERY_MS)
  model.on("alive", answered)
  model.on("remove", () => { watch.disconnect(); clearInterval(knocking) })
  answered()
  tell(false)
}
