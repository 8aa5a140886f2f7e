/** The public library. Everything here is stable within a major version. */
export type { ChangedExtent, ReadChangesOptions } from './changes/changed-extents.js';
export * from './errors.js';
export type { Extent, ExtentKind, ExtentList, Range } from './extents/extent-list.js';
export type { Action, DiskSelection, Finding, QuiesceRequest, Reason } from './hypervisor/front-end.js';
export type { FrontEndOptions } from './hypervisor/front-end-options.js';
export type { NbdClient, WriteOptions } from './nbd/client/client.js';
export type { ClientOptions } from './nbd/client/client-options.js';
export type { ExportInfo } from './nbd/client/negotiate.js';
export type { StatusRun } from './nbd/client/status-run.js';
export type { NbdAddress, NbdTls, NbdUri } from './nbd/protocol/uri.js';
export { type BackupResult, backup } from './operations/backup.js';
export type { BackupDisk, BackupFile, BackupOptions, BackupStep } from './operations/backup-options.js';
export {
  type MeasuredStages,
  type MeasureStagesOptions,
  measureStages,
} from './operations/bench/measure-stages.js';
export type { StageCost, StageName } from './operations/bench/stage-costs.js';
export { type ConnectOptions, connect, type ExportClient } from './operations/connect.js';
export { type CopyOptions, type CopyResult, copy } from './operations/copy/copy.js';
export { type DefinedGuest, type DefineGuestOptions, defineGuest } from './operations/define-guest.js';
export {
  type DiffOptions,
  type DiskDifference,
  diffPoints,
  type PointsDifference,
} from './operations/diff.js';
export {
  type ExportFormat,
  type ExportOptions,
  type ExportResult,
  exportPoint,
} from './operations/export/export.js';
export {
  type CopiedOut,
  type FileSystem,
  type GuestFile,
  type GuestFiles,
  type OpenFilesOptions,
  openFiles,
} from './operations/files/files.js';
export { type Diagnosis, type DoctorOptions, doctor, type Verdict } from './operations/guest/doctor.js';
export { backupGuest } from './operations/guest/guest-backup.js';
export type { GuestBackupOptions, GuestSource } from './operations/guest/guest-backup-options.js';
export { type RecoverOptions, type RecoverResult, recover } from './operations/guest/recover.js';
export {
  type BeginSessionOptions,
  type BegunSession,
  beginSession,
  checkSession,
  type EndedSession,
  type EndSessionOptions,
  endSession,
  listSessions,
  type Session,
  type SessionListing,
} from './operations/guest/sessions.js';
export { type ExportDescription, type InspectOptions, inspectExport } from './operations/inspect-export.js';
export { listPoints, type MachineListing, type ShownPoint, showPoint } from './operations/list-points.js';
export { type ExportMap, type MapOptions, mapExport } from './operations/map-export.js';
export { type MergeOptions, type MergeResult, merge } from './operations/merge/merge.js';
export { type ChainHandle, type OpenChainOptions, openChain } from './operations/open-chain.js';
export { initRepository, openRepository } from './operations/open-repository.js';
export { type PinOptions, type PinResult, type PointPin, pin, unpin } from './operations/pin.js';
export type { Progress, ProgressListener } from './operations/progress.js';
export { type MergedPath, type PruneResult, prune } from './operations/prune.js';
export {
  type PruneAllOptions,
  type PruneAllResult,
  type PruneFailure,
  pruneAll,
} from './operations/prune-all.js';
export type { PruneOptions } from './operations/prune-options.js';
export type { PointFate, PrunePreview, StepNotice } from './operations/prune-preview.js';
export { type RestoredDisk, type RestoreOptions, type RestoreResult, restore } from './operations/restore.js';
export { type SalvageOptions, type SalvageResult, salvage } from './operations/salvage/salvage.js';
export { type ServedPoint, type ServeOptions, serve } from './operations/serve.js';
export {
  type DiskComparison,
  type LiveDisk,
  type Problem,
  type VerifyOptions,
  type VerifyResult,
  verify,
} from './operations/verify/verify.js';
export type { Manifest } from './repository/manifest.js';
export type { MergeStep, PruneStep, RemoveStep } from './repository/prune-plan.js';
export type { Repository } from './repository/repository.js';
export type { RetentionPolicy } from './repository/retention-rules.js';
