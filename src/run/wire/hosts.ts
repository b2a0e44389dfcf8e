import { InputError } from '../../core/errors.ts'
import { addressesOf, isLoopback, type Resolve } from '../../core/hosts.ts'

/** What makes a plaintext connection to another machine acceptable. */
export interface HostOptions {
  /** TLS with certificates on both sides, or behind a proxy's TLS: may leave the machine. */
  readonly secured?: boolean
  /** For closed test networks only (network namespaces): allows plaintext to leave the machine. */
  readonly insecureNetwork?: boolean
  readonly resolve?: Resolve
}

/**
 * Resolves `host` to the one address to listen on or connect to, so that a second look-up cannot give another. Throws
 * InputError if any of its addresses is not loopback and the connection would be plaintext.
 */
export async function safeAddress(host: string, where: string, options: HostOptions = {}): Promise<string> {
  const addresses = await addressesOf(host, where, options.resolve)
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
