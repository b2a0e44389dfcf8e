/**
 * What one side of a mutual TLS handshake needs, as PEM texts: the authority that signs the peers' certificates,
 * and this side's own certificate with its private key. Whoever reads the files is elsewhere.
 */
export interface TlsMaterial {
  readonly ca: string
  readonly cert: string
  readonly key: string
}
