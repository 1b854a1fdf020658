// The REST API as the signed-in user: requests, fresh tokens, rights.
import { load, save } from "./storage.js";

const BASE = "/api/v1";
const STORE = "aemos.session";
const AT_ONCE = 5; // a browser opens six connections to a server
let session = load(STORE, {}, sessionStorage);
let refreshing = null;
let running = 0;
const waiting = [];

/** What the server answered instead of a success; `status` 0 = it could not be reached. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Tells that nobody is signed in any more. */
export const signedOut = new EventTarget();

/** @returns {object|null} the user who is signed in: id, email, userName, permissions, roles. */
export function user() {
  return session.user ?? null;
}

/** @returns {string} the access token of the moment. */
export function token() {
  return session.token;
}

/** @returns {boolean} whether the user holds a permission in some organization. */
export function may(permission) {
  return isAdministrator() || Boolean(session.user?.permissions?.includes(permission));
}

/** @returns {boolean} whether the user is a System Admin. */
export function isAdministrator() {
  return Boolean(session.user?.roles?.includes("System Admin"));
}

function keep(data) {
  session = data;
  save(STORE, data, sessionStorage);
}

/** Sign in. @throws {Refused} with what the server says. */
export async function signIn(email, password) {
  const { data } = await send("POST", "/auth/login", { email, password });
  keep({ token: data.token, refreshToken: data.refreshToken, user: data.user });
}

/** Sign out here, and void the tokens on the server if it can be reached. */
export async function signOut() {
  try {
    await request("POST", "/auth/logout");
  } catch {
    // signed out here in any case
  }
  leave();
}

function leave() {
  keep({});
  signedOut.dispatchEvent(new Event("signedout"));
}

async function send(method, path, body, bearer) {
  let response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, "The server cannot be reached");
  }
  if (response.status === 204) return null;
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Refused(response.status, `The server answered ${response.status}`);
  }
  if (!response.ok && !(path.startsWith("/health") && answer.services)) {
    throw new Refused(response.status, answer.message ?? `The server answered ${response.status}`);
  }
  return answer;
}

function refresh() {
  refreshing ??= send("POST", "/auth/refresh-token", { refreshToken: session.refreshToken })
    .then(({ data }) => keep({ token: data.token, refreshToken: data.refreshToken, user: data.user }))
    .finally(() => {
      refreshing = null;
    });
  return refreshing;
}

function expired() {
  try {
    const { exp } = JSON.parse(atob(session.token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return exp * 1000 < Date.now() + 10_000;
  } catch {
    return false;
  }
}

async function turn() {
  if (running >= AT_ONCE) await new Promise((go) => waiting.push(go));
  else running += 1;
}

function done() {
  const next = waiting.shift();
  if (next) next();
  else running -= 1;
}

/**
 * Ask the API as the user; a token that has expired is renewed once.
 *
 * @param {string} path below /api/v1
 * @returns {Promise<object|null>} the decoded answer
 * @throws {Refused}
 */
export async function request(method, path, body) {
  await turn();
  try {
    if (session.refreshToken && expired()) await refresh();
    const used = session.token;
    try {
      return await send(method, path, body, used);
    } catch (error) {
      if (error.status !== 401 || !session.refreshToken) throw error;
      if (session.token === used) await refresh();
      return await send(method, path, body, session.token);
    }
  } catch (error) {
    if (error.status === 401 && session.user) leave();
    throw error;
  } finally {
    done();
  }
}

/** Read a path below /api/v1. @throws {Refused} */
export const get = (path) => request("GET", path);

let described = null;

/** @returns {Promise<Set<string>>} what is served, as "GET /alarms". */
export function routes() {
  described ??= send("GET", "/openapi.json").then(({ paths }) => {
    const found = new Set();
    for (const [path, methods] of Object.entries(paths)) {
      for (const method of Object.keys(methods)) found.add(`${method.toUpperCase()} ${path.replace(BASE, "")}`);
    }
    return found;
  });
  return described;
}
