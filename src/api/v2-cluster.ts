import * as v from "valibot";
import { isFleetError } from "../runtime/errors.ts";
import { type ApiContext, notices } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, empty, json, Refusal, type Reply } from "./http.ts";
import type { ClusterBody, MachinesBody, RejoinBody } from "./protocol.ts";
import type { Route } from "./router.ts";

export function v2ClusterRoutes(context: ApiContext): readonly Route[] {
  return [
    { path: "cluster", methods: { GET: (request) => getCluster(context, request) } },
    { path: "machines", methods: { GET: (request) => getMachines(context, request) } },
    { path: "machines/:id/forget", methods: { POST: (request) => forget(context, request) } },
    { path: "rejoin", methods: { POST: (request) => rejoin(context, request) } },
  ];
}

/** Answers also when the registry does not: then the notices say so. */
async function getCluster(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { registry, daemon } = context;
  const cluster = await registry.read.cluster(request.call).catch((error: unknown) => {
    if (isFleetError(error) && error.retriable) return undefined;
    throw error;
  });
  const body: ClusterBody = {
    ...(cluster?.clusterId === undefined ? {} : { clusterId: cluster.clusterId }),
    registry: registry.description,
    singleMachine: daemon.singleMachine,
    machineId: daemon.machineId,
    ...(cluster?.leader === undefined ? {} : { leader: cluster.leader }),
    notices: notices(context, {
      leader: cluster?.leader !== undefined,
      reachable: cluster !== undefined,
    }),
  };
  return json(200, body);
}

async function getMachines(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { machines } = await context.registry.read.machines(request.call);
  const leader = machines.some((machine) => machine.leader);
  const body: MachinesBody = { machines, notices: notices(context, { leader, reachable: true }) };
  return json(200, body);
}

async function forget({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const id = request.params["id"] ?? "";
  switch (await registry.forget(id, request.call)) {
    case "forgotten":
      return empty(204);
    case "not-found":
      throw new Refusal(404, "not-found", `machine ${id} is not known`);
    case "present":
      throw new Refusal(
        409,
        "conflict",
        `machine ${id} is present: only one that is away can be forgotten`,
      );
  }
}

export const rejoinRequest = v.looseObject({ mode: v.picklist(["keep", "discard"]) });

async function rejoin({ daemon }: ApiContext, request: ApiRequest): Promise<Reply> {
  const { mode } = decodeBody(rejoinRequest, await request.body());
  const body: RejoinBody = { units: await daemon.rejoin(mode) };
  return json(200, body);
}
