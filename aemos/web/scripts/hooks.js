// What components share: data of the API that is read again, and a clock.
import { useCallback, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { get, may } from "./api.js";

/**
 * Read a path of the API, again every so often and when it changes.
 *
 * @param {string|null} path null = nothing yet
 * @param {{every?: number}} options seconds between two reads while the page is visible
 * @returns {{data, error, loading, reload}} the data of before stays while it is read again
 */
export function useApi(path, { every = 0 } = {}) {
  const [state, setState] = useState({ data: null, error: null, loading: Boolean(path) });
  const current = useRef(path);
  current.current = path;
  const read = useCallback(async () => {
    if (!path) return;
    try {
      const data = await get(path);
      if (current.current === path) setState({ data, error: null, loading: false, path });
    } catch (error) {
      if (current.current === path) setState((old) => ({ ...old, error, loading: false }));
    }
  }, [path]);
  useEffect(() => {
    setState((old) => ({ data: old.path === path ? old.data : null, error: null, loading: Boolean(path), path }));
    read();
    if (!every) return undefined;
    const timer = setInterval(() => document.visibilityState === "visible" && read(), every * 1000);
    return () => clearInterval(timer);
  }, [path, every]);
  return { ...state, reload: read };
}

/** @returns {number} milliseconds since 1970, anew every so many seconds. */
export function useNow(seconds = 5) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
  return now;
}

/** @returns {object} as `useApi`; `data` is a list of `{id, name}`: organizations of which the user sees something. */
export function useOrganizations() {
  const named = useApi(may("organization.view") ? "/organizations" : null);
  const counted = useApi("/presence");
  if (!counted.data || named.loading) return { ...counted, data: null };
  const found = new Map(counted.data.data.organizations.map(({ organizationId: id }) => [id, `Organization ${id}`]));
  const add = ({ id, name, children }) => {
    found.set(id, name);
    for (const child of children ?? []) add(child);
  };
  for (const one of named.data?.data.organizations ?? []) add(one);
  return { ...counted, data: [...found].map(([id, name]) => ({ id, name })) };
}
