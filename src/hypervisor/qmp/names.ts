import { basename } from 'node:path';
import { findRunName, parseRunName, type RunName } from '../run-name.js';

/**
 * What one disk's part of a run is called in QEMU. Jobs, exports and bitmaps carry the run's full name, so that a later
 * run recognises a dead one by what is left of it. Node names have at most 31 bytes: the run's random part must do there,
 * and the scratch file's path, which QEMU tells too, has the rest.
 */
export interface DiskNames {
  readonly job: string;
  readonly createFileJob: string;
  readonly createImageJob: string;
  readonly export: string;
  /** The scratch image's format node: what is exported. */
  readonly scratchNode: string;
  readonly scratchFileNode: string;
  /** What QEMU puts above the disk, to copy before the guest writes. */
  readonly filterNode: string;
  readonly scratchFile: string;
}

/** @param index which disk of the run it is: node names have no room for its name. */
export function diskNames(run: RunName, disk: string, index: number): DiskNames {
  const node = `${nodePrefix(run)}${index}`;
  return {
    job: `${run.text}-${disk}`,
    createFileJob: `${run.text}-${disk}.file`,
    createImageJob: `${run.text}-${disk}.image`,
    export: `${run.text}-${disk}`,
    scratchNode: `${node}-scratch`,
    scratchFileNode: `${node}-file`,
    filterNode: `${node}-filter`,
    scratchFile: `${disk}.qcow2`,
  };
}

const NODE = /^nbdelta-([0-9a-f]{8})-\d+-(?:scratch|file|filter)$/;

function nodePrefix(run: RunName): string {
  return `nbdelta-${run.random}-`;
}

/** Whether nbdelta made a node. */
export function isOurNode(name: string): boolean {
  return NODE.test(name);
}

export function isNodeOf(run: RunName, name: string): boolean {
  return NODE.exec(name)?.[1] === run.random;
}

/** Whether a job or an export is of the run. */
export function isOf(run: RunName, id: string): boolean {
  return findRunName(id)?.text === run.text;
}

/** The run that a folder of scratch files or of a socket is called after. */
export function runOfFolder(path: string): RunName | undefined {
  return parseRunName(basename(path));
}
