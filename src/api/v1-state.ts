import type { ApiContext } from "./context.ts";
import { type ApiRequest, json, Refusal, type Reply } from "./http.ts";
import type { Route } from "./router.ts";
import { v1State } from "./v1-format.ts";
import { pageReply } from "./v1-pages.ts";

const ONLY_GET = { status: 405, message: "only GET supported against this resource" };

export function v1StateRoutes(context: ApiContext): readonly Route[] {
  return [
    {
      path: "state",
      methods: { GET: (request) => listStates(context, request) },
      otherwise: ONLY_GET,
    },
    {
      path: "state/:name",
      methods: { GET: (request) => getState(context, request) },
      otherwise: ONLY_GET,
    },
  ];
}

async function listStates(
  { registry, pageLimit }: ApiContext,
  request: ApiRequest,
): Promise<Reply> {
  // An empty filter is none, as in fleet.
  const unit = request.query.get("unitName") || undefined;
  const machineId = request.query.get("machineID") || undefined;
  return await pageReply(request, {
    name: "states",
    limit: pageLimit,
    read: async (options) => {
      const { revision, states } = await registry.read.states({ unit, machineId }, options);
      return { revision, items: states };
    },
    entities: async (states) => states.map(v1State),
  });
}

/** Of a unit on several machines: the one with the lowest machine id. */
async function getState({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const unit = request.params["name"] ?? "";
  const { states } = await registry.read.states({ unit }, request.call);
  const [state] = states;
  if (state === undefined) throw new Refusal(404, "not-found", "unit state does not exist");
  return json(200, v1State(state));
}
