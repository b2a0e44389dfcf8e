import { isIPv4 } from 'node:net'
import { InputError, show } from '../../core/errors.ts'

export interface Endpoint {
  readonly host: string
  readonly port: number
}

const REMEDY = 'name this machine, e.g. 127.0.0.1:7400: what passes here is not encrypted'

/**
 * Reads `host:port` of this machine: 127.0.0.0/8, ::1 (as [::1]:port) or localhost, which becomes 127.0.0.1.
 * Port 0 means any that is free. @throws InputError
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

/** @throws InputError unless the host is an address of the loopback interface */
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

/** The endpoint as one word. */
export function showEndpoint({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
