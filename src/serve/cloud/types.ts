import type { RuntimePrecision } from '../../model/precision.ts'

/** All that a cloud tells the outside, as it happens. Connections are counted from 1. */
export type CloudEvent =
  | {
      readonly kind: 'connection-opened'
      readonly atSeconds: number
      readonly connection: number
      /** Common name of the edge's certificate, or null without TLS. */
      readonly identity: string | null
      /** What the edge says it is, e.g. `edgewise 0.1.0`. */
      readonly software: string
      readonly precision: RuntimePrecision
    }
  | {
      readonly kind: 'connection-closed'
      readonly atSeconds: number
      readonly connection: number
      readonly reason: string
      readonly receivedBytes: number
      readonly sentBytes: number
    }
  /** A client that never got as far as a connection: another model, no certificate, too many clients. */
  | { readonly kind: 'connection-rejected'; readonly atSeconds: number; readonly reason: string }
