// A page that was opened as a file may not start a worker, and the search is one. Here a worker is a
// hidden frame that speaks as a worker does. From a server, workers are left as they are.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      this.inside = this.frame.contentWindow;
      const load = (source) =>
        new Promise((done) => {
          const script = this.inside.document.createElement("script");
          script.src = source;
          script.onload = done;
          this.inside.document.body.appendChild(script);
        });
      this.inside.importScripts = (...sources) =>
        sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve());
      this.inside.postMessage = (data) => setTimeout(() => this.receive(data));
      // What is sent before the script has loaded waits for it.
      this.ready = load(new URL(url, location.href).href);
    }
    receive(data) {
      const message = new MessageEvent("message", { data });
      this.dispatchEvent(message);
      if (this.onmessage) this.onmessage(message);
    }
    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
