import { explain } from "../cluster/explain.ts";
import { rebalance } from "../cluster/rebalance.ts";
import type { ClusterStateRead } from "../registry/cluster-reader.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { FleetError } from "../runtime/errors.ts";
import { type ApiContext, notices } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, json, Refusal, type Reply } from "./http.ts";
import type { ExplainBody, PlanBody, RebalanceBody } from "./protocol.ts";
import type { Route } from "./router.ts";
import { applyRequest, invalidChange } from "./v2-units.ts";

/** Reading 150,000 units on 5,000 machines takes some 22 s on a busy machine. */
const DEADLINE_MS = 60_000;
const WAITING_MAX = 8;

/** Questions about placement: answered from a read of the whole registry at one revision, by any daemon. Nothing is written. */
export function v2ExplainRoutes(context: ApiContext): readonly Route[] {
  const queue = new Queue();
  return [
    {
      path: "units/:name/explain",
      methods: { GET: (request) => queue.run(request, () => getExplanation(context, request)) },
    },
    {
      path: "plan",
      methods: { POST: (request) => queue.run(request, () => plan(context, request)) },
    },
    {
      path: "rebalance",
      methods: { GET: (request) => queue.run(request, () => getRebalance(context, request)) },
    },
  ];
}

async function getExplanation(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = request.params["name"] ?? "";
  const { revision, cluster } = await readCluster(context, request);
  const explanation = explain(cluster, name);
  if (explanation === undefined) throw new Refusal(404, "not-found", `unit ${name} does not exist`);
  const body: ExplainBody = {
    revision,
    ...explanation,
    notices: await currentNotices(context, request),
  };
  return json(200, body);
}

async function plan(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { changes } = decodeBody(applyRequest, await request.body());
  const read = await readCluster(context, request);
  const outcome = await context.registry.preview(changes, read, request.call);
  if (outcome.type === "invalid") throw invalidChange(outcome);
  const { results, dirty } = outcome;
  const body: PlanBody = {
    revision: read.revision,
    results,
    outlooks: context.previewPlan(read.cluster, { dirty, wallMs: context.clock.wallMs() }),
    notices: await currentNotices(context, request),
  };
  return json(200, body);
}

async function getRebalance(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const text = request.query.get("max-moves");
  const movesMax = Number(text ?? Number.POSITIVE_INFINITY);
  if (Number.isNaN(movesMax) || movesMax < 0) {
    throw new Refusal(400, "bad-request", `max-moves has to be a number, not ${text}`);
  }
  const { cluster } = await readCluster(context, request);
  const body: RebalanceBody = {
    ...rebalance(cluster, { movesMax }),
    notices: await currentNotices(context, request),
  };
  return json(200, body);
}

async function readCluster(
  { registry, clock }: ApiContext,
  request: ApiRequest,
): Promise<ClusterStateRead> {
  const { signal } = request;
  const onDeadline = () =>
    new FleetError("store-deadline", `reading all of it took more than ${DEADLINE_MS / 1000} s`, {
      retriable: true,
    });
  return await withDeadline(clock, { deadlineMs: DEADLINE_MS, signal, onDeadline }, (ended) =>
    registry.clusterState({ ...request.call, signal: ended }),
  );
}

async function currentNotices(context: ApiContext, request: ApiRequest) {
  const { leader } = await context.registry.read.cluster(request.call);
  return notices(context, { leader: leader !== undefined, reachable: true });
}

/** One at a time: each holds as much as the whole registry. */
class Queue {
  #last: Promise<unknown> = Promise.resolve();
  #count = 0;

  async run<T>({ signal }: ApiRequest, work: () => Promise<T>): Promise<T> {
    if (this.#count > WAITING_MAX) {
      throw new Refusal(503, "busy", `${WAITING_MAX} such questions wait already: ask again`);
    }
    const previous = this.#last;
    const done = Promise.withResolvers<void>();
    this.#last = done.promise;
    this.#count += 1;
    try {
      await previous;
      signal.throwIfAborted();
      return await work();
    } finally {
      this.#count -= 1;
      done.resolve();
    }
  }
}
