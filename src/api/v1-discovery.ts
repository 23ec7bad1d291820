import { json } from "./http.ts";
import type { Route } from "./router.ts";

export function v1DiscoveryRoutes(): readonly Route[] {
  return [
    {
      path: "discovery",
      methods: { GET: async () => json(200, DISCOVERY) },
      otherwise: { status: 400, message: "only HTTP GET supported against this resource" },
    },
  ];
}

const TEXT = { type: "string" };
const PAGE_PARAMETERS = { nextPageToken: { type: "string", location: "query" } };
const UNIT_NAME = { unitName: { type: "string", location: "path", required: true } };

function object(id: string, properties: Readonly<Record<string, unknown>>) {
  return { id, type: "object", properties };
}

function list(ref: string) {
  return { type: "array", items: { $ref: ref } };
}

function method(
  id: string,
  httpMethod: string,
  path: string,
  more: Readonly<Record<string, unknown>>,
) {
  return { id: `fleet.${id}`, httpMethod, path, ...more };
}

/** Google's API discovery format. `$ENDPOINT` is put in by clients. */
const DISCOVERY = {
  kind: "discovery#restDescription",
  discoveryVersion: "v1",
  id: "fleet:v1",
  name: "schema",
  version: "v1",
  title: "fleet API",
  description: "",
  documentationLink: "https://github.com/coreos/fleet",
  protocol: "rest",
  icons: { x16: "", x32: "" },
  labels: [],
  baseUrl: "$ENDPOINT/fleet/v1/",
  basePath: "/fleet/v1/",
  rootUrl: "$ENDPOINT/",
  servicePath: "fleet/v1/",
  batchPath: "batch",
  parameters: {},
  auth: {},
  schemas: {
    Machine: object("Machine", {
      id: { type: "string", required: true },
      primaryIP: TEXT,
      metadata: { type: "object", properties: {}, additionalProperties: TEXT },
    }),
    MachinePage: object("MachinePage", { machines: list("Machine"), nextPageToken: TEXT }),
    UnitOption: object("UnitOption", { section: TEXT, name: TEXT, value: TEXT }),
    Unit: object("Unit", {
      name: TEXT,
      options: list("UnitOption"),
      desiredState: { type: "string", enum: ["inactive", "loaded", "launched"] },
      currentState: { type: "string", enum: ["inactive", "loaded", "launched"] },
      machineID: { type: "string", required: false },
    }),
    UnitPage: object("UnitPage", { units: list("Unit"), nextPageToken: TEXT }),
    UnitState: object("UnitState", {
      name: TEXT,
      hash: TEXT,
      machineID: TEXT,
      systemdLoadState: TEXT,
      systemdActiveState: TEXT,
      systemdSubState: TEXT,
    }),
    UnitStatePage: object("UnitStatePage", { states: list("UnitState"), nextPageToken: TEXT }),
  },
  resources: {
    Machines: {
      methods: {
        List: method("Machine.List", "GET", "machines", {
          description: "Retrieve a page of Machine objects.",
          parameters: PAGE_PARAMETERS,
          response: { $ref: "MachinePage" },
        }),
      },
    },
    Units: {
      methods: {
        List: method("Unit.List", "GET", "units", {
          description: "Retrieve a page of Unit objects.",
          parameters: PAGE_PARAMETERS,
          response: { $ref: "UnitPage" },
        }),
        Get: method("Unit.Get", "GET", "units/{unitName}", {
          description: "Retrieve a single Unit object.",
          parameters: UNIT_NAME,
          parameterOrder: ["unitName"],
          response: { $ref: "Unit" },
        }),
        Delete: method("Unit.Delete", "DELETE", "units/{unitName}", {
          description: "Delete the referenced Unit object.",
          parameters: UNIT_NAME,
          parameterOrder: ["unitName"],
        }),
        Set: method("Unit.Set", "PUT", "units/{unitName}", {
          description: "Create or update a Unit.",
          parameters: UNIT_NAME,
          parameterOrder: ["unitName"],
          request: { $ref: "Unit" },
        }),
      },
    },
    UnitState: {
      methods: {
        Get: method("UnitState.Get", "GET", "state/{unitName}", {
          description: "Retrieve a single UnitState object.",
          parameters: UNIT_NAME,
          parameterOrder: ["unitName"],
          response: { $ref: "UnitState" },
        }),
        List: method("UnitState.List", "GET", "state", {
          description: "Retrieve a page of UnitState objects.",
          parameters: {
            ...PAGE_PARAMETERS,
            unitName: { type: "string", location: "query" },
            machineID: { type: "string", location: "query" },
          },
          response: { $ref: "UnitStatePage" },
        }),
      },
    },
  },
};
