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

const PAUSE_MS = 300

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

  // Some browsers refuse more than a hundred changes in half a minute: one that makes no entry of its own, such as for
  // every letter that is typed, waits until the one before is old enough, and the last one counts.
  let pause = null, waiting = ""
  const write = (how, query) => {
    if ("?" + query === location.search) return
    try { history[how](null, "", location.pathname + "?" + query) } catch { /* the next one says it, too */ }
  }
  const forget = () => { waiting = "" }
  const settle = () => {
    if (waiting) write("replaceState", waiting)
    forget()
  }
  const over = () => {
    pause = waiting ? setTimeout(over, PAUSE_MS) : null
    settle()
  }
  // Back may be pressed while an address is on its way that is of the page before: the server says how many it has heard.
  let turns = model.address.turns ?? 0
  const go = () => {
    const { query, push } = model.address
    if (!query || model.address.turns !== turns) return
    if (push) {
      settle()
      write("pushState", query)
      return
    }
    waiting = query
    if (pause === null) over()
  }
  model.on("address", go)
  // What was still to be written was of the entry that has been left.
  const back = () => {
    forget()
    turns += 1
    send({ type: "address", query: location.search, turns })
  }
  window.addEventListener("popstate", back)

  const typing = (event) => {
    const t = event.composedPath()[0]
    if (!(t instanceof Element)) return false
    return t.matches("input:not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select")
      || t.isContentEditable || t.closest("[role=combobox], [role=listbox], [role=menu], .ace_editor") !== null
  }
  // Rows that a click opens: arrow keys go through them, Enter opens.
  const alongRows = (event) => {
    const path = event.composedPath().filter((n) => n instanceof Element)
    const [holder] = path
    if (!holder?.matches(".tabulator-tableholder") || !path.some((n) => n.matches(".sway-rows"))) return false
    const rows = [...holder.querySelectorAll(".tabulator-row")]
    const at = rows.findIndex((row) => row.ariaCurrent === "true")
    if (event.key === "Enter") {
      // The first cell is that of the hidden index.
      rows[at]?.querySelector(".tabulator-cell:not([tabulator-field=_index])")?.click()
      return at >= 0
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step || !rows.length) return false
    const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)]
    for (const row of rows) {
      row.ariaCurrent = row === next ? "true" : null
      row.style.outline = row === next ? "2px solid var(--sway-accent)" : ""
      row.style.outlineOffset = "-2px"
    }
    next.scrollIntoView({ block: "nearest" })
    return true
  }
  const key = (event) => {
    if (event.defaultPrevented || event.altKey || event.isComposing) return
    const mod = event.ctrlKey || event.metaKey
    if (!mod && alongRows(event)) {
      event.preventDefault()
      return
    }
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
      // The server answers 405, a proxy that finds none above 500.
      if (answer.status < 500) {
        await new Promise((r) => setTimeout(r, 4000))
        if (lost !== null) { settle(); location.reload() }
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
  // What stood here before the scripts ran has done its work; but a page whose server has gone meanwhile may never stand.
  const stand = () => {
    const down = lost !== null || (typeof _wsError !== "undefined" && _wsError)
    if (down && !Bokeh.index?.roots?.[0]?.is_idle) return void setTimeout(stand, 100)
    document.getElementById("sway-first")?.remove()
  }
  requestAnimationFrame(stand)
  model.on("remove", () => {
    document.removeEventListener("keydown", key)
    document.removeEventListener("click", entry)
    window.removeEventListener("popstate", back)
    clearTimeout(pause)
    media.removeEventListener("change", follow)
  })
}
