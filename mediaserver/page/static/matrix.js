// Who gets whose video: a table of all pairs, and a list of the pauses.

import { short } from "./tiles.js";

const name = (member) => `${member.client_id} ${short(member.connection_id)}`;

function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export class Matrix {
  #table = document.getElementById("matrix");
  #list = document.getElementById("pause-list");
  #shown = "";
  #act;

  // act(action, receiverID, senderID) is called for the cells.
  constructor(act) { this.#act = act; }

  // show draws the members and pauses; nothing is touched when nothing changed,
  // so that the keyboard's focus stays where it is.
  show(members, pauses) {
    const state = JSON.stringify([members, pauses]);
    if (state === this.#shown) return;
    this.#shown = state;

    const focus = document.activeElement?.dataset?.edge;
    const paused = new Set(pauses.map((pause) => `${pause.recv_connection_id} ${pause.send_connection_id}`));
    const receivers = members.filter((member) => member.role !== "sendonly");
    const senders = members.filter((member) => member.role !== "recvonly");
    this.#table.replaceChildren(
      element("thead", {}, [element("tr", {}, [
        element("th", { scope: "col", textContent: "receiver ← sender" }),
        ...senders.map((sender) => element("th", { scope: "col", textContent: name(sender), title: sender.connection_id })),
      ])]),
      element("tbody", {}, receivers.map((receiver) => element("tr", {}, [
        element("th", { scope: "row", textContent: name(receiver), title: receiver.connection_id }),
        ...senders.map((sender) => this.#cell(receiver, sender, paused)),
      ]))),
    );
    this.#showList(members, pauses);
    if (focus) document.querySelector(`[data-edge="${CSS.escape(focus)}"]`)?.focus();
  }

  #cell(receiver, sender, paused) {
    if (receiver.connection_id === sender.connection_id) return element("td", { textContent: "–" });
    return element("td", {}, [this.#button(receiver, sender, paused.has(`${receiver.connection_id} ${sender.connection_id}`))]);
  }

  #button(receiver, sender, isPaused) {
    const action = isPaused ? "resume" : "pause";
    const button = element("button", { type: "button", textContent: isPaused ? "paused" : "flowing" });
    button.dataset.action = action;
    button.dataset.edge = `${receiver.connection_id} ${sender.connection_id}`;
    button.dataset.recvConnectionId = receiver.connection_id;
    button.dataset.sendConnectionId = sender.connection_id;
    button.setAttribute("aria-pressed", isPaused);
    button.setAttribute("aria-label", `${name(receiver)} ${isPaused ? "does not get" : "gets"} the video of ${name(sender)}: ${action}`);
    button.addEventListener("click", () => this.#act(action, receiver.connection_id, sender.connection_id));
    return button;
  }

  #showList(members, pauses) {
    const known = new Map(members.map((member) => [member.connection_id, name(member)]));
    const called = (id) => known.get(id) ?? short(id);
    if (pauses.length === 0) {
      this.#list.replaceChildren(element("li", { className: "quiet", textContent: "none" }));
      return;
    }
    this.#list.replaceChildren(...pauses.map((pause) => {
      const button = element("button", { type: "button", textContent: "Resume" });
      button.dataset.edge = `list ${pause.recv_connection_id} ${pause.send_connection_id}`;
      button.addEventListener("click", () => this.#act("resume", pause.recv_connection_id, pause.send_connection_id));
      const item = element("li", {}, [
        element("span", { textContent: `${called(pause.recv_connection_id)} does not get ${called(pause.send_connection_id)}` }), button,
      ]);
      item.dataset.recvConnectionId = pause.recv_connection_id;
      item.dataset.sendConnectionId = pause.send_connection_id;
      return item;
    }));
  }
}
