import { InputError } from '../../core/errors.ts'
import { addressesOf, isLoopback, type Resolve } from '../../core/hosts.ts'

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
