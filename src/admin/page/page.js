"use strict";
(() => {
  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("keyside", { createHTML: (text) => text })
    : { createHTML: (text) => text };
  const address = "/page/updates" + location.search;
  let source = null;
  let retry = 0;
  let isOver = false;

  const say = (kind, text) => {
    state.className = kind;
    if (state.textContent !== text) state.textContent = text;
  };
  const time = () => new Date().toLocaleTimeString();

  // Changes what differs and leaves the rest alone, so that focus, selection and scroll position stay.
  const morph = (from, to) => {
    if (from.isEqualNode(to)) return;
    const isSame = from.nodeType === to.nodeType && from.nodeName === to.nodeName
      && (from.nodeType !== Node.ELEMENT_NODE || from.dataset.key === to.dataset.key);
    if (!isSame) {
      from.replaceWith(to.cloneNode(true));
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    morphChildren(from, to);
  };
  const morphChildren = (from, to) => {
    const before = [...from.childNodes];
    const after = [...to.childNodes];
    after.forEach((node, place) => {
      if (before[place]) morph(before[place], node);
      else from.append(node.cloneNode(true));
    });
    before.slice(after.length).forEach((node) => node.remove());
  };

  const title = () => {
    const verdict = document.querySelector(".verdict");
    document.title = verdict ? verdict.textContent + " \u00b7 Keyside" : "Keyside";
  };

  const stop = () => {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  };
  const follow = () => {
    stop();
    isOver = false;
    source = new EventSource(address);
    source.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      const part = document.getElementById("part-" + id);
      const parsed = new DOMParser().parseFromString(policy.createHTML(html), "text/html");
      if (part) morphChildren(part, parsed.body);
      title();
      say("on", "live");
    });
    source.addEventListener("end", () => {
      isOver = true;
      say("off", "the sidecar stopped at " + time());
    });
    source.onerror = () => {
      if (!isOver) say("off", "no connection since " + time());
      stop();
      retry = setTimeout(follow, 3000);
    };
  };

  const isPaused = () => pause.getAttribute("aria-pressed") === "true";
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(!isPaused()));
    if (isPaused()) {
      stop();
      say("off", "paused at " + time());
    } else {
      follow();
    }
  });
  // A page that nobody sees keeps no connection: browsers open six to one host at most.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else if (!isPaused()) follow();
  });

  document.getElementById("live").hidden = false;
  title();
  // The page is painted first.
  requestAnimationFrame(() => setTimeout(follow));
})();
