import * as v from "valibot";
import type { UnitView } from "../cluster/views.ts";
import type { CallOptions } from "../registry/store.ts";
import type { FleetOption } from "../units/fleet-format.ts";
import type { DropIn, Manifest } from "../units/manifest.ts";
import { scanUnitFile } from "../units/unit-file.ts";
import { contentFromOptions, fleetOptions, unitHash } from "../units/unit-hash.ts";
import { isTemplate, validateUnitName } from "../units/unit-name.ts";
import { type DesiredState, isDesiredState } from "../units/unit-state.ts";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, badRequest, empty, json, Refusal, type Reply } from "./http.ts";
import type { Route } from "./router.ts";
import type { V1Unit } from "./v1-format.ts";
import { pageReply } from "./v1-pages.ts";

const RACES_MAX = 5;

export function v1UnitRoutes(context: ApiContext): readonly Route[] {
  return [
    {
      path: "units",
      methods: { GET: (request) => listUnits(context, request) },
      otherwise: { status: 405, message: "only GET supported against this resource" },
    },
    {
      path: "units/:name",
      methods: {
        GET: (request) => getUnit(context, request),
        PUT: (request) => putUnit(context, request),
        DELETE: (request) => deleteUnit(context, request),
      },
      otherwise: {
        status: 405,
        message: "only GET, PUT and DELETE supported against this resource",
      },
    },
  ];
}

async function listUnits(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { registry, pageLimit } = context;
  return await pageReply(request, {
    name: "units",
    limit: pageLimit,
    read: async (options) => {
      const { revision, names } = await registry.read.unitNames(options);
      return { revision, items: names };
    },
    entities: async (names, options) => {
      if (names.length === 0) return [];
      const { units } = await registry.read.units(names, options);
      return await Promise.all(
        // fleet's list says `inactive` of global units, its single read leaves the field out.
        units.map(async (unit) => ({
          ...(await v1Unit(context, unit, request.call)),
          currentState: unit.current ?? "inactive",
        })),
      );
    },
  });
}

async function getUnit(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const unit = await findUnit(context, request);
  if (unit === undefined) throw absent();
  return json(200, await v1Unit(context, unit, request.call));
}

async function deleteUnit({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = request.params["name"] ?? "";
  if (validateUnitName(name) !== undefined) throw absent();
  const outcome = await registry.apply([{ type: "destroy", name }], request.call);
  const result = outcome.type === "applied" ? outcome.results[0] : undefined;
  if (result?.type === "destroyed") return empty(204);
  if (result?.type === "refused") throw new Refusal(409, "conflict", result.message);
  throw absent();
}

const putBody = v.looseObject({
  name: v.nullish(v.string(), ""),
  options: v.nullish(
    v.array(
      v.looseObject({
        section: v.nullish(v.string(), ""),
        name: v.nullish(v.string(), ""),
        value: v.nullish(v.string(), ""),
      }),
    ),
    [],
  ),
  desiredState: v.nullish(v.string(), ""),
});

async function putUnit(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = request.params["name"] ?? "";
  const body = decodeBody(putBody, await request.body());
  if (body.name !== "" && body.name !== name) {
    throw badRequest(`name in URL "${name}" differs from unit name in request body "${body.name}"`);
  }
  const problem = validateUnitName(name);
  if (problem !== undefined) throw badRequest(problem);
  const desired = body.desiredState === "" ? undefined : body.desiredState;
  if (desired !== undefined && !isDesiredState(desired)) {
    throw badRequest(`invalid desired state "${desired}": expect inactive, loaded or launched`);
  }
  for (let attempt = 1; attempt <= RACES_MAX; attempt += 1) {
    const unit = await findUnit(context, request);
    const reply =
      unit === undefined
        ? await createUnit(context, request, { name, options: body.options, desired })
        : await changeUnit(context, request, { unit, options: body.options, desired });
    if (reply !== undefined) return reply;
  }
  throw new Refusal(409, "conflict", `unit ${name} is being changed by others, try again`);
}

interface Put {
  readonly options: readonly FleetOption[];
  readonly desired: DesiredState | undefined;
}

/** Undefined: somebody else made it meanwhile. */
async function createUnit(
  { registry }: ApiContext,
  request: ApiRequest,
  { name, options, desired }: Put & { readonly name: string },
): Promise<Reply | undefined> {
  if (options.length === 0) {
    throw new Refusal(409, "not-found", "unit does not exist and options field empty");
  }
  const content = contentOf(options);
  const outcome = await registry.apply(
    [{ type: "submit", name, content, desired: desired ?? "inactive" }],
    request.call,
  );
  if (outcome.type === "invalid") throw badRequest(outcome.plain);
  const result = outcome.results[0];
  if (result?.type === "refused") throw new Refusal(409, "conflict", result.message);
  return result?.type === "created" ? empty(201) : undefined;
}

/** Undefined: it is gone meanwhile. */
async function changeUnit(
  context: ApiContext,
  request: ApiRequest,
  { unit, options, desired }: Put & { readonly unit: UnitView },
): Promise<Reply | undefined> {
  const { name } = unit;
  const content = options.length === 0 ? undefined : contentOf(options);
  const sameContent =
    content === undefined || unitHash(scanUnitFile(content, name).unitFile) === unit.hash;
  if (desired !== undefined && desired !== "inactive" && isTemplate(name)) {
    throw badRequest(`cannot activate template "${name}"`);
  }
  if (sameContent && desired === undefined) {
    throw new Refusal(409, "conflict", "must provide DesiredState to update existing unit");
  }
  const change =
    sameContent && desired !== undefined
      ? ({ type: "desire", name, desired } as const)
      : ({
          type: "submit",
          name,
          content: content ?? "",
          // fleet knows no drop-ins, so its clients cannot mean to take them away.
          dropIns: await dropInsOf(context, unit, request.call),
          // fleet's client waits for `inactive` after it has replaced a unit.
          desired: desired ?? "inactive",
          replace: true,
        } as const);
  const outcome = await context.registry.apply([change], request.call);
  if (outcome.type === "invalid") throw badRequest(outcome.plain);
  const result = outcome.results[0];
  if (result?.type === "refused") throw new Refusal(409, "conflict", result.message);
  if (result === undefined || result.type === "not-found") return undefined;
  return empty(sameContent ? 204 : 201);
}

async function dropInsOf(
  { registry }: ApiContext,
  unit: UnitView,
  call: CallOptions,
): Promise<readonly DropIn[]> {
  return (await registry.manifestOf(unit.manifest, call))?.dropIns ?? [];
}

function contentOf(options: readonly FleetOption[]): string {
  const result = contentFromOptions(options);
  if (result.type === "refused") throw badRequest(result.message);
  return result.content;
}

async function findUnit(
  { registry }: ApiContext,
  request: ApiRequest,
): Promise<UnitView | undefined> {
  const name = request.params["name"] ?? "";
  const { units } = await registry.read.units([name], request.call);
  return units[0];
}

async function v1Unit(
  { registry }: ApiContext,
  unit: UnitView,
  call: CallOptions,
): Promise<V1Unit> {
  const manifest: Manifest | undefined = await registry.manifestOf(unit.manifest, call);
  const content = manifest?.content ?? "";
  return {
    name: unit.name,
    options: fleetOptions(scanUnitFile(content, unit.name).unitFile),
    desiredState: unit.desired,
    currentState: unit.current,
    machineID: unit.machineId,
  };
}

function absent(): Refusal {
  return new Refusal(404, "not-found", "unit does not exist");
}
