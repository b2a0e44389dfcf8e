import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { InputError } from '../base/errors.ts'

/** All addresses of a name. */
export type Resolve = (host: string) => Promise<readonly string[]>

const systemResolve: Resolve = async (host) => {
  const found = await lookup(host, { all: true })
  return found.map(({ address }) => address)
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Whether an IP address never leaves this machine: 127.0.0.0/8, ::1, and the former written as IPv6. */
export function isLoopback(address: string): boolean {
  const version = isIP(address)
  return version !== 0 && loopback.check(address, version === 4 ? 'ipv4' : 'ipv6')
}

export interface HostOptions {
  /** TLS with certificates on both sides, or behind a proxy's: may leave the machine. */
  readonly secured?: boolean
  /** For closed test networks only (network namespaces): lets plaintext leave the machine. */
  readonly insecureNetwork?: boolean
  readonly resolve?: Resolve
}

/**
 * The one address of `host` to listen on or to connect to, so that no second look-up can give another. Throws
 * InputError where any of its addresses is not loopback and the wire would be plaintext.
 */
export async function safeAddress(host: string, where: string, options: HostOptions = {}): Promise<string> {
  const addresses = isIP(host) === 0 ? await resolveAll(host, where, options.resolve) : [host]
  const open = addresses.find((address) => !isLoopback(address))
  if (open !== undefined && options.secured !== true && options.insecureNetwork !== true) {
    throw new InputError({
      where,
      expected: 'a loopback address: to leave this machine, TLS and a client certificate are needed',
      found: open === host ? host : `${host}, which is ${open}`,
      remedy:
        'make keys with `edgewise keys` and name their folder with `--tls <folder>`; or stay on this machine',
    })
  }
  return addresses[0]
}

async function resolveAll(host: string, where: string, resolve = systemResolve): Promise<readonly string[]> {
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
