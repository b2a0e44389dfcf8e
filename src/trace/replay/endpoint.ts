import { isIPv4 } from 'node:net'
import { InputError, show } from '../../core/errors.ts'

/** Host and port. */
export interface Endpoint {
  readonly host: string
  readonly port: number
}

const REMEDY = 'name this machine, e.g. 127.0.0.1:7400: what passes here is not encrypted'

/**
 * Parses `host:port` of this machine: 127.0.0.0/8, ::1 (as [::1]:port) or localhost, which becomes 127.0.0.1. Port 0
 * means any free port.
 * @throws InputError for anything else
 */
export function parseLoopback(text: string, where: string): Endpoint {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || !(port <= 65535)) {
    throw new InputError({
      where,
      expected: 'host:port with a port 0..65535',
      found: show(text),
      remedy: REMEDY,
    })
  }
  return checkLoopback({ host: host === 'localhost' ? '127.0.0.1' : host, port }, where)
}

/**
 * Checks that an endpoint is on the loopback interface.
 * @throws InputError if not
 */
export function checkLoopback(endpoint: Endpoint, where: string): Endpoint {
  const { host } = endpoint
  if (host === '::1' || (isIPv4(host) && host.startsWith('127.'))) return endpoint
  throw new InputError({
    where,
    expected: 'an address of the loopback interface (127.0.0.1, [::1], localhost)',
    found: show(host),
    remedy: REMEDY,
  })
}

/** Formats an endpoint as host:port. */
export function showEndpoint({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
