import { z } from 'zod'
import type { KeyReport } from '../../core/trust/show.ts'

const hex = z.string().regex(/^[0-9a-f]+$/)

/** `edgewise keys show --json`. */
export const keysJsonSchema = z.strictObject({
  path: z.string(),
  certificates: z.array(
    z.strictObject({
      file: z.string(),
      role: z.enum(['authority', 'device']),
      name: z.string(),
      /** DNS names and IP addresses it is good for as a server. */
      hosts: z.array(z.string()),
      /** SHA-256 of the certificate. */
      fingerprint: hex.length(64),
      serial: hex,
      notBefore: z.iso.datetime(),
      notAfter: z.iso.datetime(),
      /** Whole days; negative once it has expired. */
      daysLeft: z.int(),
      /** Null: no list of revoked ones lies beside it. */
      revoked: z.boolean().nullable(),
    }),
  ),
  signingKeys: z.array(z.strictObject({ file: z.string(), keyId: hex.length(64) })),
  /** Null: this is no authority's folder. */
  issued: z
    .array(
      z.strictObject({
        name: z.string(),
        serial: hex,
        notAfter: z.iso.datetime(),
        revokedAt: z.iso.datetime().nullable(),
      }),
    )
    .nullable(),
})

/** What `edgewise keys show --json` prints. */
export function keysJson(report: KeyReport): z.infer<typeof keysJsonSchema> {
  return {
    path: report.path,
    certificates: report.certificates.map((certificate) => ({
      ...certificate,
      hosts: [...certificate.hosts],
    })),
    signingKeys: report.signingKeys.map((key) => ({ ...key })),
    issued: report.issued?.map((entry) => ({ ...entry })) ?? null,
  }
}
