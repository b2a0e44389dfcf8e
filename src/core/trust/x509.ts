import { webcrypto } from 'node:crypto'
import type * as library from '@peculiar/x509'

/** Module type of the certificate library. */
export type X509 = typeof library

let loading: Promise<X509> | undefined

/**
 * Loads the certificate library on the first call, because only issuing certificates needs it, and devices do not.
 * reflect-metadata must be loaded before.
 */
export function loadX509(): Promise<X509> {
  loading ??= (async () => {
    await import('reflect-metadata')
    const x509 = await import('@peculiar/x509')
    x509.cryptoProvider.set(webcrypto)
    return x509
  })()
  return loading
}
