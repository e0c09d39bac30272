// The whole script of the console. Every page works without it; with it pages stay current and ask in dialogs.

const announce = (text) => {
  const place = document.getElementById("announce");
  if (place) place.textContent = text;
};

// Copy buttons: shown only where copying works.
const bindCopies = (root) => {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.onclick = async () => {
      const text = document.querySelector(button.dataset.copy)?.textContent ?? "";
      await navigator.clipboard.writeText(text.trim());
      button.classList.add("done");
      announce("Copied");
      setTimeout(() => button.classList.remove("done"), 1500);
    };
  }
};

// A <details data-dialog> opens as a modal dialog.
const bindDialogs = (root) => {
  for (const details of root.querySelectorAll("details[data-dialog]")) {
    const summary = details.querySelector("summary");
    const form = details.querySelector("form");
    if (!form || details.dataset.bound) continue;
    details.dataset.bound = "yes";
    summary.addEventListener("click", (event) => {
      event.preventDefault();
      const dialog = document.createElement("dialog");
      dialog.setAttribute("aria-label", details.dataset.dialog);
      const close = document.createElement("button");
      close.type = "button";
      close.className = "plain close";
      close.textContent = "Cancel";
      close.onclick = () => dialog.close();
      form.querySelector(".actions")?.append(close);
      dialog.append(form);
      dialog.addEventListener("close", () => {
        close.remove();
        details.append(form);
        dialog.remove();
        summary.focus();
      });
      document.body.append(dialog);
      dialog.showModal();
    });
  }
};

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented || "again" in form.dataset) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button:not([type=button])")) button.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  }
});

// Selects that filter a page send their form at once.
const bindFilters = (root) => {
  for (const form of root.querySelectorAll("form[data-auto]")) {
    form.addEventListener("change", (event) => {
      if (event.target.matches("select, input[type=date]")) form.requestSubmit();
    });
  }
};

// Menus close when something else is clicked, or by Escape.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.pick[open], details.menu[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.pick[open], details.menu[open]")) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

// Fragments: every element with an id and data-fragment is taken anew from the same page.
let refreshing = false;
let again = false;
const refresh = async () => {
  if (refreshing) return void (again = true);
  if (document.querySelector("dialog[open]")) return; // its form belongs to a part that would be taken away
  refreshing = true;
  try {
    // The header says that nobody asked: a page that is left open does not keep its session from ending.
    const headers = { Accept: "text/html", "X-Backup-Refresh": "1" };
    const answer = await fetch(location.href, { headers, redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401) return location.reload();
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-fragment]")) {
      const next = fresh.getElementById(old.id);
      if (!next || next.isEqualNode(old) || old.contains(document.activeElement)) continue;
      old.replaceWith(next);
      bind(next);
      if (next.dataset.says) announce(next.dataset.says);
    }
  } catch {
    // The server is away for a moment: the next event or the next poll asks again.
  } finally {
    refreshing = false;
    if (again) {
      again = false;
      setTimeout(refresh, 500);
    }
  }
};

// Live pages listen to /events; where there are none, they ask every few seconds.
const live = () => {
  const every = Number(document.body.dataset.live);
  if (!every) return;
  let poll = 0;
  const startPolling = () => {
    poll ||= setInterval(() => document.hidden || refresh(), every * 1000);
  };
  if (!window.EventSource) return startPolling();
  // How far a run has come is no event: while something is under way, the page asks.
  setInterval(() => document.hidden || (document.querySelector("main .badge.active") && refresh()), every * 1000);
  let late = 0;
  const soon = () => {
    clearTimeout(late);
    late = setTimeout(refresh, 250);
  };
  const listen = () => {
    const source = new EventSource("/events");
    source.onmessage = soon;
    source.addEventListener("change", soon);
    source.onopen = () => {
      clearInterval(poll);
      poll = 0;
      soon();
    };
    source.onerror = startPolling;
    return source;
  };
  // A browser opens six connections to one place: a page that nobody sees gives its own back.
  let source = null;
  const follow = () => {
    if (document.hidden) source = source?.close() ?? null;
    else source ??= listen();
  };
  document.addEventListener("visibilitychange", follow);
  follow();
};

// The clock in the head.
const tick = () => {
  for (const clock of document.querySelectorAll("[data-clock] time")) {
    const zone = clock.parentElement.dataset.clock;
    const now = new Date();
    const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }).format(now);
    clock.textContent = `${part({ day: "numeric", month: "short", year: "numeric" })}, ${part({ hour: "2-digit", minute: "2-digit" })}`;
    clock.title = `${now.toISOString().slice(0, 16).replace("T", " ")} UTC`;
    clock.dateTime = now.toISOString();
  }
};

// Of a table of days the newest are shown first.
const bindDays = (root) => {
  for (const table of root.querySelectorAll(".scroll > .days")) table.parentElement.scrollLeft = table.scrollWidth;
};

const bind = (root) => {
  bindDays(root);
  bindCopies(root);
  bindDialogs(root);
  bindFilters(root);
};

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.onclick = () => window.print();
}
bind(document);
tick();
setInterval(tick, 20_000);
live();
