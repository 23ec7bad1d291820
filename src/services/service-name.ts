/** A label of DNS, so that NAME.service.fleet is a name: lower-case letters, digits and inner hyphens. */
const SERVICE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** What unit and host names are made of. It names one endpoint of a service, in the registry and in statistics. */
const INSTANCE = /^[A-Za-z0-9]([A-Za-z0-9@._:-]{0,126}[A-Za-z0-9])?$/;

/** What is wrong with a name, or undefined. */
export function serviceNameProblem(name: string): string | undefined {
  if (SERVICE.test(name)) return undefined;
  return `"${name}" is no name for a service: lower-case letters, digits and hyphens within, up to 63`;
}

export function instanceProblem(instance: string): string | undefined {
  if (INSTANCE.test(instance)) return undefined;
  return `"${instance}" is no name for an instance: letters, digits and @ . _ : - within, up to 128`;
}

/** Where nobody names the instance: no two machines can come to the same. */
export function defaultInstance(machineId: string, port: number): string {
  return `${machineId.slice(0, 12)}-${port}`;
}
