import type { ApiRequest, Handler } from "./http.ts";

/** A path: `units`, `units/:name` (one part that is left open; `:` begins its name). */
export interface Route {
  readonly path: string;
  readonly methods: Readonly<Record<string, Handler>>;
  /** Status and text for any other method; 405 without it. */
  readonly otherwise?: { readonly status: number; readonly message: string };
}

/** Routes below one or more base paths. */
export interface RouteGroup {
  readonly bases: readonly string[];
  readonly routes: readonly Route[];
}

export interface RouteMatch {
  readonly route: Route;
  readonly params: ApiRequest["params"];
}

/** Exact: no trailing slash, no empty part, and an encoded `/` does not make a part. */
export function matchRoute(groups: readonly RouteGroup[], path: string): RouteMatch | undefined {
  for (const { bases, routes } of groups) {
    const base = bases.find((one) => path.startsWith(`${one}/`));
    if (base === undefined) continue;
    const parts = path.slice(base.length + 1).split("/");
    for (const route of routes) {
      const params = matchParts(route.path.split("/"), parts);
      if (params !== undefined) return { route, params };
    }
  }
  return undefined;
}

function matchParts(
  pattern: readonly string[],
  parts: readonly string[],
): Record<string, string> | undefined {
  if (pattern.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    const part = parts[index] ?? "";
    if (!expected.startsWith(":")) {
      if (part !== expected) return undefined;
      continue;
    }
    const value = decodePart(part);
    if (value === undefined || value === "" || value.includes("/")) return undefined;
    params[expected.slice(1)] = value;
  }
  return params;
}

function decodePart(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
