import { webcrypto } from 'node:crypto'
import type * as library from '@peculiar/x509'

export type X509 = typeof library

let loading: Promise<X509> | undefined

/**
 * The certificate library, loaded at the first call: only what makes certificates needs it, and no device
 * does. It expects reflect-metadata to have run before.
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
