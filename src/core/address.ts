import { InputError, show } from './errors.ts'

/** A host and a TCP port. */
export interface Address {
  readonly host: string
  readonly port: number
}

export const DEFAULT_ADDRESS = '127.0.0.1:7400'

const MAX_PORT = 65_535

/** Reads `host:port`; an IPv6 host stands in brackets. Throws InputError naming `flag`. */
export function parseAddress(flag: string, text: string): Address {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match !== null && port <= MAX_PORT) return { host: match[1] ?? match[2], port }
  throw new InputError({
    where: flag,
    expected: `host:port, e.g. ${DEFAULT_ADDRESS} or [::1]:7400`,
    found: show(text),
  })
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
