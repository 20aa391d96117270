// The page: joins a channel, keeps tiles and matrix up to date, sends clicks to
// the shim. ?channel=&client=&source=picture|camera|none&autojoin=1 preset it.

import { FrameMeter } from "./frames.js";
import { Matrix } from "./matrix.js";
import { Shim } from "./shim.js";
import { Signaling } from "./signaling.js";
import { openSource } from "./source.js";
import { Tiles } from "./tiles.js";

const at = (id) => document.getElementById(id);
const wanted = new URLSearchParams(location.search);
const config = await (await fetch("config.json")).json();
// Tokens are where they were typed, and nowhere else: not in the address, nor in any storage.
const shim = new Shim(config.shim_url, () => at("api-token").value.trim());

let meeting = null; // while joined or joining

const tiles = new Tiles((action, senderID) => change(action, meeting.signaling.connectionID, senderID));
const matrix = new Matrix(change);

// change pauses or resumes one pair; the matrix follows what the shim lists.
async function change(action, receiverID, senderID) {
  if (!meeting) return;
  const { channel } = meeting;
  showError("");
  try {
    await shim[action](channel, receiverID, senderID);
  } catch (error) {
    showError(error.message);
  }
  await refreshPauses();
}

async function refreshPauses() {
  const current = meeting;
  if (!current) return;
  try {
    const pauses = await shim.listPauses(current.channel);
    if (current !== meeting) return;
    current.pauses = pauses;
    current.listError = "";
  } catch (error) {
    if (current !== meeting) return;
    // Once, not every two seconds over what a click has to say.
    if (current.listError !== error.message) showError(error.message);
    current.listError = error.message;
  }
  drawMatrix();
}

function drawMatrix() {
  if (meeting) matrix.show([...meeting.members.values()], meeting.pauses);
}

async function join() {
  const channel = at("channel").value;
  const client = at("client").value || `guest-${crypto.getRandomValues(new Uint16Array(1))[0].toString(36)}`;
  at("client").value = client;
  showError("");
  setState("joining");

  const starting = { channel, members: new Map(), pauses: [], listError: "", timers: [] };
  meeting = starting;
  try {
    starting.source = await openSource(at("source").value, client);
  } catch (error) {
    leave();
    showError(error.message);
    return;
  }
  if (meeting !== starting) {
    starting.source.close();
    return;
  }
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/signaling`;
  const connect = {
    role: starting.source.stream ? "sendrecv" : "recvonly", channel_id: channel, client_id: client, sora_client: "Nagi page",
  };
  const token = at("client-token").value.trim();
  if (token) connect.metadata = { access_token: token };
  starting.signaling = new Signaling(url, connect, starting.source.stream);
  listen(starting, client);
}

function listen(current, client) {
  const { signaling, source } = current;
  const meter = new FrameMeter();
  const while_ = (handle) => ({ detail }) => { if (current === meeting) handle(detail); };

  signaling.addEventListener("joined", while_((ownID) => {
    setState("joined");
    if (source.stream) {
      tiles.show(ownID, client, true).querySelector("video").srcObject = source.stream;
    }
    current.timers.push(setInterval(() => {
      meter.measure(signaling.peer, tiles, ownID, (id, fps) => tiles.setFPS(id, fps)).catch(console.error);
    }, 1000));
    current.timers.push(setInterval(refreshPauses, 2000));
    refreshPauses();
  }));
  signaling.addEventListener("notify", while_((message) => follow(current, message)));
  signaling.addEventListener("track", while_(({ track, senderID }) => {
    if (!senderID) return;
    tiles.show(senderID, current.members.get(senderID)?.client_id ?? "");
    tiles.addTrack(senderID, track);
    drawAlone();
  }));
  signaling.addEventListener("unreachable", while_((addresses) => {
    leave();
    showError("Firefox sends no media to loopback addresses, and the media server has no other than " +
      `${addresses.join(", ")}. Use Chromium on this machine, or end nagi and start it as ` +
      "bin/nagi --media-listen=ADDRESS:5004, where ADDRESS is one of this machine’s others.");
  }));
  signaling.addEventListener("left", while_(({ code, reason }) => {
    leave();
    if (reason === "AUTHENTICATION-FAILURE") showError("Who may join is decided here, and you may not: give a token under Tokens, “to join”.");
    else if (reason === "DISCONNECTED-API") showError("Somebody had the media server disconnect this page, through the API.");
    else if (code !== 1000) showError(`The media server closed the connection: ${reason || "no reason"} (${code})`);
  }));
}

// follow keeps the members and what is paused for us.
function follow(current, message) {
  switch (message.event_type) {
    case "connection.created":
      for (const member of [...(message.data ?? []), message]) welcome(current, member);
      break;
    case "connection.destroyed":
      current.members.delete(message.connection_id);
      tiles.remove(message.connection_id);
      break;
    case "rtp-stream.paused":
    case "rtp-stream.resumed":
      if (message.recv_connection_id === current.signaling.connectionID && message.kinds.includes("video")) {
        tiles.setPaused(message.send_connection_id, message.event_type === "rtp-stream.paused", message.reason);
      }
      refreshPauses();
      break;
    case "rtp-stream.rejected":
      if (message.kinds.includes("video")) tiles.setRejected(message.send_connection_id, message.codec_type);
      break;
  }
  drawMatrix();
  drawAlone();
}

function welcome(current, { connection_id, client_id, role }) {
  current.members.set(connection_id, { connection_id, client_id, role });
  if (connection_id !== current.signaling.connectionID && role !== "recvonly") tiles.show(connection_id, client_id);
}

function leave() {
  const { signaling, source, timers = [] } = meeting ?? {};
  meeting = null;
  timers.forEach(clearInterval);
  signaling?.leave();
  source?.close();
  tiles.clear();
  setState("apart");
}

function setState(state) {
  const apart = state === "apart";
  at("state").dataset.state = state;
  at("state").textContent = { apart: "not joined", joining: "joining…", joined: `in channel ${at("channel").value}` }[state];
  document.body.dataset.connectionId = state === "joined" ? meeting.signaling.connectionID : "";
  for (const id of ["channel", "client", "source", "client-token", "join"]) at(id).disabled = !apart;
  at("join").hidden = !apart;
  at("leave").hidden = apart;
  at("sound").hidden = apart;
  at("pauses").hidden = state !== "joined";
  drawAlone();
}

function drawAlone() {
  const others = meeting?.signaling ? [...meeting.members.keys()].filter((id) => id !== meeting.signaling.connectionID) : [];
  at("alone").hidden = at("state").dataset.state !== "joined" || others.length > 0;
}

function showError(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

at("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!meeting) join();
});
at("leave").addEventListener("click", leave);
at("sound").addEventListener("click", () => {
  const on = at("sound").getAttribute("aria-pressed") !== "true";
  at("sound").setAttribute("aria-pressed", on);
  at("sound").textContent = on ? "Sound on" : "Sound off";
  tiles.setMuted(!on);
});
for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, () => meeting?.source?.wake());
addEventListener("pagehide", () => meeting?.signaling?.leave());

for (const id of ["channel", "client", "source"]) if (wanted.has(id)) at(id).value = wanted.get(id);
if (wanted.get("autojoin") === "1") join();
