// Saves what the server sends as a file.
export function render({ model }) {
  model.on("msg:custom", ({ name, kind, data }) => {
    const link = document.createElement("a")
    link.href = URL.createObjectURL(new Blob([data], { type: kind }))
    link.download = name
    link.click()
    // The browser reads it after the click has been handled.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
  })
  return document.createElement("div")
}
