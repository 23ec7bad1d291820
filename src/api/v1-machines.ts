import * as v from "valibot";
import type { MetadataChange } from "../registry/machine-changes.ts";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, badRequest, empty, type Reply } from "./http.ts";
import type { Route } from "./router.ts";
import { v1Machine } from "./v1-format.ts";
import { pageReply } from "./v1-pages.ts";

/** All changes of a request are one transaction, one operation per machine. */
const MACHINES_MAX = 100;

export function v1MachineRoutes(context: ApiContext): readonly Route[] {
  return [
    {
      path: "machines",
      methods: {
        GET: (request) => listMachines(context, request),
        PATCH: (request) => patchMachines(context, request),
      },
      otherwise: { status: 405, message: "only GET and PATCH supported against this resource" },
    },
  ];
}

async function listMachines(
  { registry, pageLimit }: ApiContext,
  request: ApiRequest,
): Promise<Reply> {
  return await pageReply(request, {
    name: "machines",
    limit: pageLimit,
    read: async (options) => {
      const { revision, machines } = await registry.read.machines(options);
      return { revision, items: machines.filter(({ present }) => present) };
    },
    entities: async (machines) => machines.map(v1Machine),
  });
}

/** `value` as fleet's documentation has it, or wrapped once more, as its code wants it. */
const operation = v.looseObject({
  op: v.nullish(v.string(), ""),
  path: v.nullish(v.string(), ""),
  value: v.nullish(v.union([v.string(), v.looseObject({ value: v.nullish(v.string(), "") })]), ""),
});

async function patchMachines({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const operations = decodeBody(v.array(operation), await request.body());
  const changes = operations.map(metadataChange);
  if (new Set(changes.map(({ machineId }) => machineId)).size > MACHINES_MAX) {
    throw badRequest(`more than ${MACHINES_MAX} machines in one request`);
  }
  await registry.changeMetadata(changes, request.call);
  return empty(204);
}

function metadataChange({ op, path, value }: v.InferOutput<typeof operation>): MetadataChange {
  if (!["add", "remove", "replace"].includes(op)) {
    throw badRequest("invalid op: expect add, remove, or replace");
  }
  const match = /^\/([A-Za-z0-9_.-]+)\/metadata\/([A-Za-z0-9_.-]+)$/.exec(path);
  const [, machineId = "", key = ""] = match ?? [];
  if (match === null) throw badRequest("machine metadata path invalid");
  if (op === "remove") return { machineId, key, value: undefined };
  const text = typeof value === "string" ? value : value.value;
  if (text === "") throw badRequest("invalid value: add and replace require a value");
  return { machineId, key, value: text };
}
