import * as v from "valibot";
import type { UnitsListed } from "../registry/kept-units.ts";
import { type ApiContext, notices } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, badRequest, json, Refusal, type Reply, readFlag } from "./http.ts";
import type { ApplyBody, ManifestBody, UnitsBody } from "./protocol.ts";
import type { Route } from "./router.ts";

const CHANGES_MAX = 10_000;
const NAMES_MAX = 10_000;

export function v2UnitRoutes(context: ApiContext): readonly Route[] {
  return [
    { path: "units", methods: { GET: (request) => getUnits(context, request) } },
    { path: "units/:name/manifest", methods: { GET: (request) => getManifest(context, request) } },
    { path: "apply", methods: { POST: (request) => apply(context, request) } },
  ];
}

async function getUnits(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const names = request.query.getAll("unit");
  if (names.length > NAMES_MAX) throw badRequest(`more than ${NAMES_MAX} units in one request`);
  const isWithMachines = readFlag(request.query, "machines");
  const [{ revision, units, leader }, found] = await Promise.all([
    readUnits(context, names, request),
    isWithMachines ? context.registry.read.machines(request.call) : undefined,
  ]);
  const body: UnitsBody = {
    revision,
    units,
    ...(found === undefined ? {} : { machines: found.machines }),
    notices: notices(context, { leader, reachable: true, units }),
  };
  return json(200, body);
}

async function readUnits(
  { registry: { kept, read } }: ApiContext,
  names: readonly string[],
  { call }: ApiRequest,
): Promise<UnitsListed> {
  if (names.length === 0) return await kept.list(call);
  const [found, { leader }] = await Promise.all([
    read.units([...new Set(names)], call),
    read.cluster(call),
  ]);
  return { ...found, leader: leader !== undefined };
}

async function getManifest({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = request.params["name"] ?? "";
  const manifest = await registry.manifest(name, request.call);
  if (manifest === undefined) throw new Refusal(404, "not-found", `unit ${name} does not exist`);
  const body: ManifestBody = { name, ...manifest };
  return json(200, body);
}

const name = v.string();
const desired = v.picklist(["inactive", "loaded", "launched"]);
export const applyRequest = v.looseObject({
  changes: v.pipe(
    v.array(
      v.variant("type", [
        v.object({
          type: v.literal("submit"),
          name,
          content: v.exactOptional(v.string()),
          dropIns: v.exactOptional(v.array(v.object({ name: v.string(), content: v.string() }))),
          lenient: v.exactOptional(v.boolean()),
          desired: v.exactOptional(desired),
          replace: v.exactOptional(v.boolean()),
          source: v.exactOptional(
            v.object({ name, path: v.string(), version: v.string(), author: v.string() }),
          ),
          adopt: v.exactOptional(v.boolean()),
        }),
        v.object({ type: v.literal("desire"), name, desired }),
        v.object({ type: v.literal("restart"), name }),
        v.object({ type: v.literal("destroy"), name, ifSource: v.exactOptional(name) }),
      ]),
    ),
    v.maxLength(CHANGES_MAX),
  ),
});

async function apply({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const { changes } = decodeBody(applyRequest, await request.body());
  const outcome = await registry.apply(changes, request.call);
  if (outcome.type === "invalid") throw invalidChange(outcome);
  const body: ApplyBody = { results: outcome.results };
  return json(200, body);
}

export function invalidChange({
  name,
  message,
}: {
  readonly name: string;
  readonly message: string;
}): Refusal {
  // Places in a unit file begin with its name anyway.
  return badRequest(message.startsWith(name) ? message : `${name}: ${message}`);
}
