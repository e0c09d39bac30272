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
        catchUp();
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
const PATIENCE_MS = 15_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
const asServed = new WeakMap(); // the HTML of a fragment before the script added to it
let refreshing = false;
let again = false; // somebody asked while an answer was on its way
let missed = false; // a part could not be taken away from under somebody
let pause = FIRST_PAUSE_MS;
let retry = 0;

const remember = (fragment) => asServed.set(fragment, fragment.outerHTML);

const swap = (old, next) => {
  if (!next || next.outerHTML === asServed.get(old)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const address = focused?.getAttribute("href");
  const same = address && [...next.querySelectorAll("a")].find((link) => link.getAttribute("href") === address);
  if (focused && !same) return void (missed = true); // somebody types, or is about to press it
  remember(next);
  old.replaceWith(next);
  bind(next);
  same?.focus({ preventScroll: true });
  if (next.dataset.says) announce(next.dataset.says);
};

const refresh = async () => {
  if (refreshing) return void (again = true);
  if (document.querySelector("dialog[open]")) return void (missed = true); // its form belongs to a part that would go
  refreshing = true;
  missed = false;
  clearTimeout(retry);
  try {
    // The header says that nobody asked: a page that is left open does not keep its session from ending.
    const headers = { Accept: "text/html", "X-Backup-Refresh": "1" };
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const answer = await fetch(location.href, { headers, redirect: "manual", signal });
    if (answer.type === "opaqueredirect" || answer.status === 401) return location.reload();
    if (answer.status >= 500 || answer.status === 429) throw new Error(answer.statusText);
    if (!answer.ok) return; // the page is there no more, for whoever looks at it
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-fragment]")) swap(old, fresh.getElementById(old.id));
    pause = FIRST_PAUSE_MS;
  } catch {
    // What changed is not told a second time: the page asks until it knows.
    retry = setTimeout(refresh, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  } finally {
    refreshing = false;
    if (again) {
      again = false;
      setTimeout(refresh, 500);
    }
  }
};

// Of many calls in a moment one is made, and a stream of calls does not put it off.
let due = 0;
const soon = () => {
  due ||= setTimeout(() => {
    due = 0;
    refresh();
  }, 250);
};
const catchUp = () => missed && soon();
document.addEventListener("focusout", catchUp);

// Live pages listen to /events; where there are none, they ask every few seconds.
const LISTEN_AGAIN_MS = 30_000;
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
  const listen = () => {
    const source = new EventSource("/events");
    source.onmessage = soon;
    source.addEventListener("change", soon);
    source.onopen = () => {
      clearInterval(poll);
      poll = 0;
      soon();
    };
    source.onerror = () => {
      startPolling();
      // What is refused, such as one stream too many, the browser does not ask for again.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => source === following && follow(true), LISTEN_AGAIN_MS);
    };
    return source;
  };
  // A browser opens six connections to one place: a page that nobody sees gives its own back.
  let following = null;
  const follow = (anew) => {
    if (document.hidden || anew) following = following?.close() ?? null;
    if (!document.hidden) following ??= listen();
  };
  document.addEventListener("visibilitychange", () => follow(false));
  window.addEventListener("pageshow", (event) => event.persisted && soon());
  follow(false);
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
document.querySelectorAll("[data-fragment]").forEach(remember);
bind(document);
tick();
setInterval(tick, 20_000);
live();
