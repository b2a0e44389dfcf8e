import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { InputError } from './errors.ts'

/** Looks up all IP addresses of a host name. */
export type Resolve = (host: string) => Promise<readonly string[]>

const systemResolve: Resolve = async (host) => {
  const found = await lookup(host, { all: true })
  return found.map(({ address }) => address)
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Whether an IP address is loopback: 127.0.0.0/8, ::1, or an IPv6-mapped 127.0.0.0/8. */
export function isLoopback(address: string): boolean {
  const version = isIP(address)
  return version !== 0 && loopback.check(address, version === 4 ? 'ipv4' : 'ipv6')
}

/** All IP addresses of a host; an IP address gives itself. Throws InputError naming `where` if there is none. */
export async function addressesOf(
  host: string,
  where: string,
  resolve: Resolve = systemResolve,
): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host]
  let addresses: readonly string[] = []
  let cause: unknown
  try {
    if (host !== '') addresses = await resolve(host)
  } catch (error) {
    cause = error
  }
  if (addresses.length > 0) return addresses
  const found = `${JSON.stringify(host)}, which has no address`
  throw new InputError({ where, expected: 'a host name or an IP address', found }, { cause })
}
