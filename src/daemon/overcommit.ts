import type { Overcommit } from "../cluster/facts.ts";

const ONCE: Overcommit = { memory: 1, cpu: 1, tasks: 1 };

/** `1.5` for everything, or `memory=1.2 cpu=2` with the rest given away once; undefined: neither. */
export function parseOvercommit(text: string): Overcommit | undefined {
  const all = parseFactor(text);
  if (all !== undefined) return { memory: all, cpu: all, tasks: all };
  let overcommit = ONCE;
  for (const item of text.trim().split(/[\s,]+/)) {
    const { resource, factor } =
      /^(?<resource>memory|cpu|tasks)=(?<factor>.*)$/.exec(item)?.groups ?? {};
    const value = parseFactor(factor ?? "");
    if (resource === undefined || value === undefined) return undefined;
    overcommit = { ...overcommit, [resource]: value };
  }
  return overcommit;
}

function parseFactor(text: string): number | undefined {
  if (!/^\d{1,6}(\.\d{1,6})?$/.test(text)) return undefined;
  const factor = Number(text);
  return factor > 0 ? factor : undefined;
}
