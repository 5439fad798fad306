// Bokeh lays the whole page out again for every change of a size or of what is hidden, a tenth of a second each with
// many figures. What one message of the server changes is laid out once, when all of it is known, and after the frame
// that shows it: rows and words have their places without Bokeh, only figures wait for it.
function layOutOnce(root) {
  if (!root || Object.hasOwn(root, "invalidate_layout")) return
  const layOut = root.invalidate_layout.bind(root)
  const measure = root.compute_layout.bind(root)
  let due = false
  const once = () => { due = false; layOut() }
  // Something of another size meanwhile asks for sizes only; figures that are new have none before they are laid out.
  root.compute_layout = () => { if (!due) measure() }
  root.invalidate_layout = () => {
    if (due) return
    due = true
    // A page nobody sees has no frames.
    if (document.hidden) setTimeout(once)
    else requestAnimationFrame(() => setTimeout(once))
  }
}

export function render({ model, view }) {
  layOutOnce(view.root)
  const media = window.matchMedia("(prefers-color-scheme: dark)")
  const send = (data) => model.send_msg(data)
  const store = (name, value) => { try { localStorage.setItem(name, value) } catch { /* private window */ } }
  const recall = (name) => { try { return localStorage.getItem(name) } catch { return null } }

  const chosen = () => { const t = recall("sway-theme"); return t === "dark" || t === "light" ? t : "" }
  const dark = () => chosen() ? chosen() === "dark" : media.matches
  const tell = () => {
    // Bars for scrolling are the browser's own.
    document.documentElement.style.colorScheme = dark() ? "dark" : "light"
    document.cookie = `sway_theme=${dark() ? "dark" : "light"}; path=/; max-age=31536000; samesite=lax`
    send({ type: "theme", dark: dark() })
  }
  const follow = () => { if (!chosen()) tell() }
  media.addEventListener("change", follow)
  model.on("theme", () => { store("sway-theme", model.theme); tell() })

  const go = () => {
    const { query, push } = model.address
    if (!query || "?" + query === location.search) return
    history[push ? "pushState" : "replaceState"](null, "", location.pathname + "?" + query)
  }
  model.on("address", go)
  const back = () => send({ type: "address", query: location.search })
  window.addEventListener("popstate", back)

  const typing = (event) => {
    const t = event.composedPath()[0]
    if (!(t instanceof Element)) return false
    return t.matches("input:not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select")
      || t.isContentEditable || t.closest("[role=combobox], [role=listbox], [role=menu], .ace_editor") !== null
  }
  const key = (event) => {
    if (event.defaultPrevented || event.altKey || event.isComposing) return
    const mod = event.ctrlKey || event.metaKey
    const letter = event.key.length === 1
    const name = mod ? "Mod+" + (letter ? event.key.toUpperCase() : event.key) : event.key
    const what = model.bound[name] ?? model.bound[letter ? name.toLowerCase() : name]
    if (what === undefined) return
    if (!mod && event.key !== "Escape" && typing(event)) return
    if (!mod && letter && event.key !== "?" && !model.letters) return
    const path = event.composedPath()
    const inside = (selector) => path.some((n) => n instanceof Element && n.matches(selector))
    if (event.key === "Enter" && !mod && inside("button, a, [role=tab], [role=button], summary")) return
    if (event.key.startsWith("Arrow") && inside("[role=tablist], [role=slider], [role=toolbar], [role=listbox], .tabulator, .sway-tokens")) return
    if (mod || event.key === "/" || event.key === "?") event.preventDefault()
    send({ type: "key", what })
  }
  document.addEventListener("keydown", key)
  // Links to what a probe found are real ones, so that one opens in another tab, too; a plain click stays here.
  const entry = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return
    const link = event.composedPath().find((n) => n instanceof HTMLAnchorElement && n.dataset.entry !== undefined)
    if (!link) return
    event.preventDefault()
    send({ type: "entry", entry: link.dataset.entry })
  }
  document.addEventListener("click", entry)
  model.letters = recall("sway-letters") !== "off"
  model.on("letters", () => store("sway-letters", model.letters ? "on" : "off"))

  model.on("copied", () => { if (model.copied) navigator.clipboard?.writeText(model.copied).catch(() => {}) })

  // A server that was started anew knows nothing of this session; the address knows all of it.
  let lost = null
  const doc = Bokeh.documents[0]
  const again = async () => {
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" })
      if (answer.ok) {
        await new Promise((r) => setTimeout(r, 4000))
        if (lost !== null) location.reload()
      }
    } catch { /* not yet */ }
    if (lost !== null) lost = setTimeout(again, 2000)
  }
  const gone = () => {
    document.documentElement.classList.add("sway-offline")
    if (lost === null) lost = setTimeout(again, 2000)
  }
  const here = () => {
    document.documentElement.classList.remove("sway-offline")
    clearTimeout(lost)
    lost = null
  }
  doc?.on_event?.("connection_lost", gone)
  doc?.on_event?.("client_reconnected", here)

  go()
  // A frame that has not mounted yet does not hear of another theme.
  const mounted = () => Bokeh.index?.roots?.[0]?.is_idle ? tell() : setTimeout(mounted, 50)
  mounted()
  // What stood here before the scripts ran has done its work.
  requestAnimationFrame(() => document.getElementById("sway-first")?.remove())
  model.on("remove", () => {
    document.removeEventListener("keydown", key)
    document.removeEventListener("click", entry)
    window.removeEventListener("popstate", back)
    media.removeEventListener("change", follow)
  })
}
