//! Enumerates the images that a crash may leave.
//!
//! In: a model. Out: each image once. Invariants: one varied content lives at a time, so that a large file with many
//! pending appends costs time, not memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::disk::sim::cut::{DataCut, NameCut, Origin};
use crate::disk::sim::image::{Content, Image, Names};
use crate::disk::sim::model::Model;
use crate::disk::tree::InodeId;

/// The names of one cut, and which of their files have pending changes.
struct Variant {
    cut: NameCut,
    names: Arc<Names>,
    dirty: BTreeSet<InodeId>,
}

/// What a killed process leaves: everything it did.
pub(super) fn killed_image(model: &Model) -> Image {
    let names = model.live_names();
    Image::new(&names, &model.live_contents(&names), Origin::Killed)
}

/// Visits all images of a model, [`killed_image`] first, each once.
pub(super) fn visit_images(model: &Model, visit: &mut dyn FnMut(Image)) {
    let mut walk = Walk { seen: HashSet::new(), visit };
    walk.emit(killed_image(model));
    let variants: Vec<Variant> = model.names().into_iter().map(|(cut, names)| variant(model, cut, names)).collect();
    let inodes: BTreeSet<InodeId> = variants.iter().flat_map(|variant| variant.names.files.values().copied()).collect();
    for pending in [false, true] {
        walk.visit_base(model, &variants, &inodes, pending);
    }
    walk.visit_pairs(model, &variants, &inodes);
}

fn variant(model: &Model, cut: NameCut, names: Arc<Names>) -> Variant {
    let dirty = names.files.values().copied().filter(|inode| model.is_dirty(*inode)).collect();
    Variant { cut, names, dirty }
}

struct Walk<'a> {
    seen: HashSet<u128>,
    visit: &'a mut dyn FnMut(Image),
}

impl Walk<'_> {
    fn emit(&mut self, image: Image) {
        if self.seen.insert(image.digest()) {
            (self.visit)(image);
        }
    }

    /// The images in which all files but at most one have all their pending bytes, or none.
    fn visit_base(&mut self, model: &Model, variants: &[Variant], inodes: &BTreeSet<InodeId>, pending: bool) {
        let mut contents = model.contents(inodes, pending);
        for Variant { cut, names, .. } in variants {
            self.emit(Image::new(
                names,
                &contents,
                Origin::PowerCut { names: *cut, data: pending, except: None, also: None },
            ));
        }
        for inode in inodes.iter().copied().filter(|inode| model.is_dirty(*inode)) {
            // A file that is the only dirty one is the same exception from both bases.
            let touched = |variant: &&Variant| variant.dirty.contains(&inode) && !(pending && variant.dirty.len() == 1);
            let variants: Vec<&Variant> = variants.iter().filter(touched).collect();
            let base = contents.get(&inode).cloned();
            self.visit_cuts(model, &variants, inode, &mut contents, pending);
            contents.extend(base.map(|content| (inode, content)));
        }
    }

    /// Some of the images in which two files are cut differently at once: every cut of a file beside one cut of the
    /// next file, with names and bytes of the others that change from image to image.
    fn visit_pairs(&mut self, model: &Model, variants: &[Variant], inodes: &BTreeSet<InodeId>) {
        let dirty: Vec<InodeId> = inodes.iter().copied().filter(|inode| model.is_dirty(*inode)).collect();
        if dirty.len() < 2 {
            return;
        }
        let bases = [false, true].map(|pending| model.contents(inodes, pending));
        for pair in dirty.windows(2) {
            let both = |variant: &&Variant| pair.iter().all(|inode| variant.dirty.contains(inode));
            let variants: Vec<&Variant> = variants.iter().filter(both).collect();
            let (first, second) = (model.cuts(pair[0]), model.cuts(pair[1]));
            for turn in 0..if variants.is_empty() { 0 } else { first.len().max(second.len()) } {
                let pending = turn % 2 == 1;
                let variant = variants[turn % variants.len()];
                let cuts = [first[turn % first.len()], second[(turn * 3 + 1) % second.len()]];
                let mut contents = bases[turn % 2].clone();
                for (inode, cut) in pair.iter().zip(cuts) {
                    contents.extend(model.content(*inode, cut).map(|content| (*inode, content)));
                }
                let [except, also] = [Some((pair[0].0, cuts[0])), Some((pair[1].0, cuts[1]))];
                let origin = Origin::PowerCut { names: variant.cut, data: pending, except, also };
                self.emit(Image::new(&variant.names, &contents, origin));
            }
        }
    }

    fn visit_cuts(
        &mut self,
        model: &Model,
        variants: &[&Variant],
        inode: InodeId,
        contents: &mut BTreeMap<InodeId, Content>,
        pending: bool,
    ) {
        if variants.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        let cuts = model.cuts(inode);
        let cut_contents = cuts.into_iter().filter_map(|cut| Some((cut, model.content(inode, cut)?)));
        for (data_cut, content) in cut_contents.filter(|(_, content)| seen.insert(content.digest())) {
            contents.insert(inode, content);
            for variant in variants {
                let except: Option<(u64, DataCut)> = Some((inode.0, data_cut));
                let origin = Origin::PowerCut { names: variant.cut, data: pending, except, also: None };
                self.emit(Image::new(&variant.names, contents, origin));
            }
        }
    }
}
