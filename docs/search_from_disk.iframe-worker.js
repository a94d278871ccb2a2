// A browser starts no worker for a page that is read from the disk: the search then runs in a
// hidden frame, which answers as a worker does.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.inside = frame.contentWindow
      window.addEventListener("message", event => {
        if (event.source === this.inside)
          this.dispatchEvent(new MessageEvent("message", { data: event.data }))
      })
      this.ready = new Promise(loaded => {
        const element = frame.contentDocument.createElement("script")
        element.onload = loaded
        element.src = script
        this.inside.eval("postMessage = data => parent.postMessage(data, '*')")
        frame.contentDocument.body.append(element)
      })
    }

    postMessage(data) {
      this.ready.then(() =>
        this.inside.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
